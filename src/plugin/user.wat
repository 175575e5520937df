;; What a plugin calls of Weir's own, under the name under which plugins look for functions of their host.
(module
  (import "weir:plugin/env" "weir_count" (func $count (param i64 i64)))
  (export "weir_count" (func $count)))
