//! The whole cluster in one thread, seeded.
