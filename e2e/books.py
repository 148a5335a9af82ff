"""The usage rows of a stopped gateway."""

import sqlite3
from collections import namedtuple

# `key` is the client key's name, `kind` the request's type, `prompt` all input, whether a cache knew it or not.
Row = namedtuple("Row", "key format kind status converted prompt output")

USAGE = """
    SELECT lower(hex(request_id)), name, api_format, request_type, status, is_converted,
           input_tokens + cache_read_input_tokens + cache_creation_input_tokens, output_tokens
    FROM usage JOIN api_keys ON api_keys.id = api_key_id
"""


def rows(database):
    """Each request's row by its id, as `x-request-id` spells it."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return {f"req_{request}": Row(*row) for request, *row in connection.execute(USAGE)}
    finally:
        connection.close()
