//! The Kafka clients: options, the poll thread, rebalance, producer, admin, the embedded broker. Knows nothing of flow.
