//! The laws of conversion, on recorded traffic and on generated documents.

mod calls;
mod corpus;
mod ends;
mod field_map;
mod fold;
mod generate;
mod hostile;
mod laws;
mod map;
mod places;
mod probs;
mod rows;
mod shape;
mod silence;
mod sources;
mod support;
mod turns;
