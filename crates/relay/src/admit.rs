//! Admission: what a request is checked against, in order, before anything upstream happens.

pub(crate) mod money;
pub(crate) mod policy;
pub(crate) mod rate;
