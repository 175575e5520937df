//! Records written to topics: routes, rendering, the producer.
