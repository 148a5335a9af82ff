//! For tests, demo and bench: a scripted upstream that answers as all four wires do.
