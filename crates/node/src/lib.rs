//! Many groups on one node: the deterministic core between consensus, keyspace and storage.
