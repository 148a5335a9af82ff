//! The control plane: documents, services, health and status.
