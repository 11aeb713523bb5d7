//! The messages of the Kafka protocol, sans-IO, and the one catalogue of API versions.
