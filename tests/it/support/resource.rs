//! A receiver that is not ours: Python's own HTTP server, its tokens made and judged by `oauthlib`, its TLS by OpenSSL.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::run::root;

/// Runs until its standard input ends. Each line of it takes all tokens back. It prints its port, and a line for each
/// request and for each handshake that fails.
const PROGRAM: &str = r#"
import base64, http.server, json, ssl, sys, threading, time, types, urllib.parse
from oauthlib.oauth2 import BackendApplicationServer, RequestValidator
options = json.loads(sys.argv[1])
granted, lock = {}, threading.Lock()
def say(**what):
    with lock:
        print(json.dumps(what), flush=True)
class Judge(RequestValidator):
    def authenticate_client(self, request):
        given = request.headers.get('Authorization', '').removeprefix('Basic ')
        pair = base64.b64decode(given).decode().split(':', 1)
        if [urllib.parse.unquote_plus(part) for part in pair] != options['client']:
            return False
        request.client = types.SimpleNamespace(client_id=options['client'][0])
        return True
    def validate_grant_type(self, client_id, grant_type, client, request, *args, **kwargs):
        return grant_type == 'client_credentials'
    def validate_scopes(self, client_id, scopes, client, request, *args, **kwargs):
        return scopes == ['hooks']
    def save_bearer_token(self, token, request, *args, **kwargs):
        granted[token['access_token']] = time.monotonic() + token['expires_in']
    def validate_bearer_token(self, token, scopes, request):
        return granted.get(token, 0) > time.monotonic()
oauth = BackendApplicationServer(Judge(), token_expires_in=options['seconds'])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length'])).decode()
        headers, answer = dict(self.headers), b'{}'
        headers['Authorization'] = headers.pop('authorization', headers.get('Authorization', ''))
        headers['Content-Type'] = headers.get('content-type', '')
        who = None
        if self.path == '/token':
            _, answer, status = oauth.create_token_response('https://localhost/token', 'POST', body, headers)
            answer = answer.encode()
        elif options['client']:
            good, _ = oauth.verify_request('https://localhost/hook', 'POST', body, headers, ['hooks'])
            status = 200 if good else 401
        else:
            who, status = self.connection.getpeercert()['subject'][0][0][1], 200
        say(path=self.path, status=status, who=who, body=body, attempt=self.headers['weir-attempt'])
        self.send_response(status)
        self.send_header('content-type', 'application/json')
        self.send_header('content-length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, request, address):
        say(path='', status=0, who=None, body=str(sys.exc_info()[1]))
server = Server(('127.0.0.1', 0), Handler)
if options['tls']:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options['tls'] + '/server.pem')
    context.load_verify_locations(options['tls'] + '/ca.pem')
    context.verify_mode = ssl.CERT_REQUIRED
    # The handshake is made by the thread of the connection.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in sys.stdin:
    granted.clear()
    say(path='taken back', status=0, who=None, body='')
"#;

/// A running receiver; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Resource {
    child: Child,
    input: Option<ChildStdin>,
    port: u16,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Resource {
    /// Takes requests on `/hook` with a token that it gave on `/token` to this client; each is good for so many seconds.
    pub(crate) fn with_tokens(client: (&str, &str), seconds: u32) -> Resource {
        Resource::start(&serde_json::json!({ "client": client, "seconds": seconds, "tls": null }))
    }

    /// Takes requests of those who show a certificate of the authority in `ca.pem` of this folder; its own is in
    /// `server.pem`.
    pub(crate) fn with_certificates(folder: &Path) -> Resource {
        Resource::start(&serde_json::json!({ "client": null, "seconds": 60, "tls": folder }))
    }

    fn start(options: &Value) -> Resource {
        let mut command = Command::new(root().join("scripts/python"));
        command.args(["-c", PROGRAM, &options.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the receiver says its port; its words are above");
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&lines);
        let read = move || {
            for line in output.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        };
        let reader = std::thread::Builder::new().name("resource".to_owned()).spawn(read).unwrap();
        Resource { input: child.stdin.take(), child, port, lines, reader: Some(reader) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// All tokens are good no longer.
    pub(crate) fn takes_tokens_back(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// What came to a path, in order: statuses. `""`: connections that came to nothing.
    pub(crate) fn statuses(&self, path: &str) -> Vec<u64> {
        self.lines(path).iter().map(|line| line["status"].as_u64().unwrap()).collect()
    }

    /// The same in full.
    pub(crate) fn lines(&self, path: &str) -> Vec<Value> {
        self.lines.lock().unwrap().iter().filter(|line| line["path"] == path).cloned().collect()
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
        drop(self.reader.take().map(std::thread::JoinHandle::join));
    }
}
