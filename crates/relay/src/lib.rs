//! The data plane: from a request's bytes to the last byte of its answer.
