// Makes one event of each line of a text, in AssemblyScript. A transform: `source: { format: text }` before it.
//
// `value` is the first field of what comes in, so that a plugin can do without a JSON library: the text is cut as it
// stands there, escapes and all. Configuration: `skip_empty: true` leaves empty lines out.
import { Config, Host, Memory } from "@extism/as-pdk";

@external("extism:host/env", "error_set")
declare function error_set(text: u64): void;

const BEGIN = '{"value":"';

export function transform(): i32 {
  const input = Host.inputString();
  if (!input.startsWith(BEGIN)) {
    error_set(Memory.allocateString("the value is no text").offset);
    return 1;
  }
  const setting = Config.get("skip_empty");
  const skipEmpty = setting !== null && setting == "true";
  const events: string[] = [];
  let start = BEGIN.length;
  let at = start;
  while (at < input.length) {
    const char = input.charCodeAt(at);
    if (char == 0x22) break; // the end of the text
    if (char != 0x5c) {
      at++;
      continue;
    }
    if (input.charCodeAt(at + 1) == 0x6e) { // \n
      add(events, input.substring(start, at), skipEmpty);
      start = at + 2;
    }
    at += 2;
  }
  add(events, input.substring(start, at), skipEmpty);
  // Not `outputString`: that of as-pdk 1.0.0 counts characters where bytes are meant, and cuts what is not ASCII.
  Host.output(Uint8Array.wrap(String.UTF8.encode("[" + events.join(",") + "]")));
  return 0;
}

function add(events: string[], line: string, skipEmpty: bool): void {
  if (line.length > 0 || !skipEmpty) events.push('{"value":"' + line + '"}');
}

// What a failed assertion, or memory that has run out, comes to: a trap, the failure of this record.
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}
