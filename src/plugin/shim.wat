;; What a plugin sees of Extism's memory and functions. It stands between the plugin and Extism's own kernel, because the host
;; reads the kernel's memory by offsets and lengths that lie in it, and a plugin can overwrite those (a store to a block's
;; header, or to the length of the output): the host would then read what is not the guest's. Here the plugin writes into an
;; arena of its own, and what leaves it is copied by this module, whose every access WebAssembly checks.
;;
;; The arena begins anew at each call. A block has 8 bytes before it, the first 4 of which are its length; `free` takes back
;; the last block only. A plugin that forges a header harms itself.
(module
  (import "extism:host/env" "alloc" (func $k_alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $k_free (param i64)))
  (import "extism:host/env" "length" (func $k_length (param i64) (result i64)))
  (import "extism:host/env" "load_u8" (func $k_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "load_u64" (func $k_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $k_store_u8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $k_store_u64 (param i64 i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $k_output_set (param i64 i64)))
  (import "extism:host/env" "output_offset" (func $k_output_offset (result i64)))
  (import "extism:host/env" "error_set" (func $k_error_set (param i64)))
  (import "extism:host/env" "config_get" (func $k_config_get (param i64) (result i64)))
  (import "extism:host/env" "get_log_level" (func $get_log_level (result i32)))
  (import "weir:host" "log" (func $host_log (param i32 i64)))
  (import "weir:host" "count" (func $host_count (param i64 i64)))
  (import "weir:host" "refuse" (func $refuse (param i32)))

  ;; What a plugin reads only is the kernel's.
  (export "input_length" (func $input_length))
  (export "input_load_u8" (func $input_load_u8))
  (export "input_load_u64" (func $input_load_u64))
  (export "get_log_level" (func $get_log_level))

  (memory 1)
  (global $first i32 (i32.const 16))
  (global $top (mut i32) (i32.const 16))
  ;; Where the kernel's output stands since this call has begun; the kernel sets it to 0 between calls.
  (global $mark (mut i64) (i64.const -1))

  (func $begin
    (if (i64.ne (call $k_output_offset) (global.get $mark))
      (then
        (global.set $top (global.get $first))
        (call $k_output_set (i64.const 65) (i64.const 1))
        (global.set $mark (call $k_output_offset)))))

  (func $align (param $n i64) (result i64)
    (i64.and (i64.add (local.get $n) (i64.const 7)) (i64.const -8)))

  ;; Traps where an address has more than 32 bits; the memory's own check does the rest.
  (func $narrow (param $at i64) (result i32)
    (if (i64.ne (i64.shr_u (local.get $at) (i64.const 32)) (i64.const 0)) (then (call $refuse (i32.const 1))))
    (i32.wrap_i64 (local.get $at)))

  (func $alloc (export "alloc") (param $n i64) (result i64) (local $end i64) (local $over i64)
    (call $begin)
    (if (i64.eqz (local.get $n)) (then (return (i64.const 0))))
    (if (i64.gt_u (local.get $n) (i64.const 0x7fffffff)) (then (call $refuse (i32.const 0))))
    (local.set $end
      (call $align (i64.add (i64.add (i64.extend_i32_u (global.get $top)) (i64.const 8)) (local.get $n))))
    (local.set $over (i64.sub (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))))
    (if (i64.gt_s (local.get $over) (i64.const 0))
      (then
        (if (i32.eq (i32.const -1)
              (memory.grow (i32.wrap_i64 (i64.shr_u (i64.add (local.get $over) (i64.const 65535)) (i64.const 16)))))
          (then (call $refuse (i32.const 0))))))
    (i64.store32 (global.get $top) (local.get $n))
    (i64.extend_i32_u (i32.add (global.get $top) (i32.const 8)))
    (global.set $top (i32.wrap_i64 (local.get $end))))

  ;; Whether an offset can be one of a block.
  (func $is_inside (param $p i64) (result i32)
    (i32.and
      (i64.gt_u (local.get $p) (i64.extend_i32_u (global.get $first)))
      (i64.lt_u (local.get $p) (i64.extend_i32_u (global.get $top)))))

  (func $length (export "length") (export "length_unsafe") (param $p i64) (result i64)
    (if (i32.eqz (call $is_inside (local.get $p))) (then (return (i64.const 0))))
    (i64.load32_u (i32.sub (i32.wrap_i64 (local.get $p)) (i32.const 8))))

  (func $free (export "free") (param $p i64)
    (if (i32.eqz (call $is_inside (local.get $p))) (then (return)))
    (if (i64.eq
          (call $align (i64.add (local.get $p) (call $length (local.get $p))))
          (i64.extend_i32_u (global.get $top)))
      (then (global.set $top (i32.sub (i32.wrap_i64 (local.get $p)) (i32.const 8))))))

  (func (export "load_u8") (param $p i64) (result i32) (i32.load8_u (call $narrow (local.get $p))))
  (func (export "load_u64") (param $p i64) (result i64) (i64.load (call $narrow (local.get $p))))
  (func (export "store_u8") (param $p i64) (param $x i32)
    (i32.store8 (call $narrow (local.get $p)) (local.get $x)))
  (func (export "store_u64") (param $p i64) (param $x i64)
    (i64.store (call $narrow (local.get $p)) (local.get $x)))

  ;; Copies out of the arena into a block of the kernel.
  (func $out (param $p i64) (param $n i64) (result i64) (local $k i64) (local $i i64)
    (if (i64.eqz (local.get $n)) (then (return (i64.const 0))))
    (if (i32.eqz (call $is_inside (local.get $p))) (then (call $refuse (i32.const 1))))
    (if (i64.gt_u (local.get $n) (i64.sub (i64.extend_i32_u (global.get $top)) (local.get $p)))
      (then (call $refuse (i32.const 1))))
    (local.set $k (call $k_alloc (local.get $n)))
    (block $words
      (loop $next
        (br_if $words (i64.gt_u (i64.add (local.get $i) (i64.const 8)) (local.get $n)))
        (call $k_store_u64
          (i64.add (local.get $k) (local.get $i))
          (i64.load (i32.wrap_i64 (i64.add (local.get $p) (local.get $i)))))
        (local.set $i (i64.add (local.get $i) (i64.const 8)))
        (br $next)))
    (block $bytes
      (loop $next
        (br_if $bytes (i64.ge_u (local.get $i) (local.get $n)))
        (call $k_store_u8
          (i64.add (local.get $k) (local.get $i))
          (i32.load8_u (i32.wrap_i64 (i64.add (local.get $p) (local.get $i)))))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $next)))
    (local.get $k))

  ;; The same of a whole block, of which so many bytes at most.
  (func $out_block (param $p i64) (param $most i64) (result i64) (local $n i64)
    (local.set $n (call $length (local.get $p)))
    (if (i64.gt_u (local.get $n) (local.get $most)) (then (local.set $n (local.get $most))))
    (call $out (local.get $p) (local.get $n)))

  ;; Copies a block of the kernel into the arena.
  (func $in (param $k i64) (param $n i64) (result i64) (local $p i64) (local $i i64)
    (local.set $p (call $alloc (local.get $n)))
    (block $bytes
      (loop $next
        (br_if $bytes (i64.ge_u (local.get $i) (local.get $n)))
        (i32.store8
          (i32.wrap_i64 (i64.add (local.get $p) (local.get $i)))
          (call $k_load_u8 (i64.add (local.get $k) (local.get $i))))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $next)))
    (local.get $p))

  (func (export "input_offset") (result i64) (local $p i64) (local $i i64)
    (local.set $p (call $alloc (call $input_length)))
    (block $bytes
      (loop $next
        (br_if $bytes (i64.ge_u (local.get $i) (call $input_length)))
        (i32.store8
          (i32.wrap_i64 (i64.add (local.get $p) (local.get $i)))
          (call $input_load_u8 (local.get $i)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $next)))
    (local.get $p))

  (func (export "output_set") (param $p i64) (param $n i64) (local $k i64)
    (call $begin)
    (local.set $k (call $out (local.get $p) (local.get $n)))
    (if (i64.eqz (local.get $k)) (then (return)))
    (call $k_output_set (local.get $k) (local.get $n))
    (global.set $mark (call $k_output_offset)))

  (func (export "error_set") (param $p i64)
    (call $k_error_set (call $out_block (local.get $p) (i64.const 0xffffffff))))

  (func (export "config_get") (param $key i64) (result i64) (local $k i64)
    (local.set $k (call $out_block (local.get $key) (i64.const 0xffff)))
    (call $free (local.get $key))
    (local.set $k (call $k_config_get (local.get $k)))
    (if (i64.eqz (local.get $k)) (then (return (i64.const 0))))
    (call $in (local.get $k) (call $k_length (local.get $k))))

  (func $log (param $level i32) (param $p i64) (local $k i64)
    (local.set $k (call $out_block (local.get $p) (i64.const 4096)))
    (call $free (local.get $p))
    (call $host_log (local.get $level) (local.get $k))
    (call $k_free (local.get $k)))
  (func (export "log_trace") (param i64) (call $log (i32.const 0) (local.get 0)))
  (func (export "log_debug") (param i64) (call $log (i32.const 1) (local.get 0)))
  (func (export "log_info") (param i64) (call $log (i32.const 2) (local.get 0)))
  (func (export "log_warn") (param i64) (call $log (i32.const 3) (local.get 0)))
  (func (export "log_error") (param i64) (call $log (i32.const 4) (local.get 0)))

  (func (export "weir_count") (param $name i64) (param $by i64) (local $k i64)
    (local.set $k (call $out_block (local.get $name) (i64.const 256)))
    (call $host_count (local.get $k) (local.get $by))
    (call $k_free (local.get $k)))

  (func (export "http_request") (param i64 i64) (result i64) (call $refuse (i32.const 2)) (i64.const 0))
  (func (export "http_status_code") (result i32) (i32.const 0))
  (func (export "http_headers") (result i64) (i64.const 0))
  (func (export "var_get") (param i64) (result i64) (i64.const 0))
  (func (export "var_set") (param i64 i64) (call $refuse (i32.const 3))))
