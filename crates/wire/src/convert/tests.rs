//! The laws of conversion, on recorded traffic and on generated documents.

mod corpus;
mod fold;
mod generate;
mod hostile;
mod laws;
mod map;
mod probs;
mod rows;
mod silence;
mod sources;
mod support;
