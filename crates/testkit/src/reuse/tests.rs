use super::fingerprint;

#[test]
fn every_byte_counts() {
    let base = fingerprint(b"/v1/messages", b"0123456789abcdef0");
    for (target, body) in [
        ("/v1/message", "0123456789abcdef0"),
        ("/v1/messages", "0123456789abcdef1"),
        ("/v1/messages", "0123456789abcdeF0"),
        ("/v1/messages", "89abcdef012345670"),
        ("/v1/messages0", "123456789abcdef0"),
    ] {
        assert_ne!(fingerprint(target.as_bytes(), body.as_bytes()), base, "{target} {body}");
    }
}
