"""The usage rows of a stopped gateway."""

import sqlite3
from collections import namedtuple

Row = namedtuple("Row", "format status prompt output")

USAGE = """
    SELECT lower(hex(request_id)), api_format, status,
           input_tokens + cache_read_input_tokens + cache_creation_input_tokens, output_tokens
    FROM usage
"""


def rows(database):
    """Each request's row by its id, as `x-request-id` spells it."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return {f"req_{request}": Row(*row) for request, *row in connection.execute(USAGE)}
    finally:
        connection.close()
