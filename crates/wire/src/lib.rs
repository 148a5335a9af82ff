//! Bytes to formats and back: peek, splice, SSE, usage taps and native errors of the four wires. Pure.
