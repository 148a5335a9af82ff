-- What an endpoint is dialled through: {url, username, enabled} as JSON, and the password, sealed.
ALTER TABLE provider_endpoints ADD COLUMN proxy TEXT;
ALTER TABLE provider_endpoints ADD COLUMN proxy_password BYTEA;
