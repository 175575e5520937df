//! What a program does with the value, in the order in which it does it: read off its text, so that each path has a place.

use std::ops::Range;

use vrl::parser::ast::{
    Assignment, AssignmentOp, AssignmentTarget, Container, Expr, FunctionCall, Literal, Node, Opcode,
    Predicate, Query, QueryTarget, RootExpr, Unary,
};
use vrl::parser::{self, Program};
use vrl::path::{OwnedTargetPath, OwnedValuePath, PathPrefix};

use super::bound;

/// One thing that a program does with the value.
#[derive(Debug, Clone, PartialEq)]
pub enum Touch {
    /// It reads a path, which stands there in the text.
    Read(OwnedValuePath, Range<usize>),
    /// It writes a path.
    Write {
        /// Where to.
        path: OwnedValuePath,
        /// What.
        made: Made,
        /// In each run; else perhaps.
        certain: bool,
    },
    /// It takes a path out of the value, in each run or perhaps.
    Delete {
        /// Which one.
        path: OwnedValuePath,
        /// In each run; else perhaps.
        certain: bool,
        /// What it leaves empty may go with it.
        compact: bool,
    },
}

/// What is written, as far as the text says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Made {
    /// What stands at a path of the value; null where it has none.
    Path(OwnedValuePath),
    /// Text.
    Text,
    /// An integer.
    Integer,
    /// A number that is none.
    Number,
    /// True or false.
    Boolean,
    /// False.
    False,
    /// A time.
    Timestamp,
    /// Null.
    Null,
    /// A list.
    List(Vec<Made>),
    /// An object.
    Object(Vec<(String, Made)>),
    /// The text does not say.
    Unknown,
}

impl Made {
    /// The same where what stands at a path by now is not what was read there.
    fn without_paths(self) -> Made {
        match self {
            Made::Path(_) => Made::Unknown,
            Made::List(items) => Made::List(items.into_iter().map(Made::without_paths).collect()),
            Made::Object(fields) => {
                Made::Object(fields.into_iter().map(|(name, one)| (name, one.without_paths())).collect())
            }
            other => other,
        }
    }
}

/// What a source that compiles does with the value; `None` where that cannot be told.
pub fn touches(source: &str) -> Option<Vec<Touch>> {
    bound::check(source).ok()?;
    let program = parser::parse(source).ok()?;
    let mut follow = Follow { out: Vec::new(), certain: !returns(&program) };
    for root in program {
        match root.into_inner() {
            RootExpr::Expr(expr) => drop(follow.expr(expr.into_inner())),
            RootExpr::Error(_) => return None,
        };
    }
    Some(follow.out)
}

/// Whether the program may end before its last line with the record as it is by then.
fn returns(program: &Program) -> bool {
    let text = program.to_string();
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "return")
}

struct Follow {
    out: Vec<Touch>,
    /// What is looked at is evaluated in each run.
    certain: bool,
}

impl Follow {
    /// What an expression touches, and what its value is.
    fn expr(&mut self, expr: Expr) -> Made {
        match expr {
            Expr::Literal(literal) => literal_of(&literal),
            Expr::Container(container) => self.container(container.into_inner()),
            Expr::Query(query) => {
                let span = query.start()..query.end();
                self.query(query.into_inner(), span)
            }
            Expr::FunctionCall(call) => self.call(call.into_inner()),
            Expr::Assignment(assignment) => {
                self.assignment(assignment.into_inner());
                Made::Unknown
            }
            Expr::IfStatement(branches) => {
                let branches = branches.into_inner();
                match branches.predicate.into_inner() {
                    Predicate::One(one) => drop(self.expr(one.into_inner())),
                    Predicate::Many(many) => self.each(many),
                }
                self.perhaps(|this| this.each(branches.if_node.into_inner().into_inner()));
                if let Some(block) = branches.else_node {
                    self.perhaps(|this| this.each(block.into_inner().into_inner()));
                }
                Made::Unknown
            }
            Expr::Op(op) => {
                let op = op.into_inner();
                let (left, opcode, right) = (op.0.into_inner(), op.1.into_inner(), op.2.into_inner());
                match opcode {
                    // What fails has perhaps not done all that stands there.
                    Opcode::Err => self.perhaps(|this| drop(this.expr(left))),
                    _ => drop(self.expr(left)),
                }
                match opcode {
                    Opcode::Err | Opcode::Or | Opcode::And => self.perhaps(|this| drop(this.expr(right))),
                    _ => drop(self.expr(right)),
                }
                match opcode {
                    Opcode::Ne | Opcode::Eq | Opcode::Ge | Opcode::Gt | Opcode::Le | Opcode::Lt => {
                        Made::Boolean
                    }
                    _ => Made::Unknown,
                }
            }
            Expr::Unary(unary) => {
                let Unary::Not(not) = unary.into_inner();
                self.expr(not.into_inner().take().1.into_inner());
                Made::Boolean
            }
            Expr::Abort(abort) => {
                if let Some(message) = abort.into_inner().message {
                    self.expr(message.into_inner());
                }
                Made::Unknown
            }
            Expr::Return(returned) => {
                self.expr(returned.into_inner().expr.into_inner());
                Made::Unknown
            }
            Expr::Variable(_) | Expr::Break(_) => Made::Unknown,
        }
    }

    fn each(&mut self, several: impl IntoIterator<Item = Node<Expr>>) {
        for one in several {
            self.expr(one.into_inner());
        }
    }

    /// What is not evaluated in each run.
    fn perhaps(&mut self, look: impl FnOnce(&mut Follow)) {
        let certain = std::mem::replace(&mut self.certain, false);
        look(self);
        self.certain = certain;
    }

    fn container(&mut self, container: Container) -> Made {
        match container {
            Container::Group(group) => self.expr(group.into_inner().into_inner().into_inner()),
            Container::Block(block) => {
                self.each(block.into_inner().into_inner());
                Made::Unknown
            }
            Container::Array(array) => {
                Made::List(array.into_inner().into_iter().map(|item| self.expr(item.into_inner())).collect())
            }
            Container::Object(object) => {
                let entries = object.into_inner().into_iter();
                Made::Object(
                    entries.map(|(key, value)| (key.into_inner(), self.expr(value.into_inner()))).collect(),
                )
            }
        }
    }

    fn query(&mut self, query: Query, span: Range<usize>) -> Made {
        let path = query.path.into_inner();
        match query.target.into_inner() {
            QueryTarget::External(PathPrefix::Event) => {
                self.out.push(Touch::Read(path.clone(), span));
                return Made::Path(path);
            }
            QueryTarget::FunctionCall(call) => drop(self.call(call)),
            QueryTarget::Container(container) => drop(self.container(container)),
            QueryTarget::External(PathPrefix::Metadata) | QueryTarget::Internal(_) => {}
        }
        Made::Unknown
    }

    fn call(&mut self, call: FunctionCall) -> Made {
        let (mut deleted, mut compact) = (None, false);
        for argument in call.arguments {
            let argument = argument.into_inner();
            let other = argument.ident.as_ref().is_some_and(|ident| &***ident != "target");
            let made = self.expr(argument.expr.into_inner());
            if other || deleted.is_some() {
                compact |= made != Made::False;
            } else {
                deleted = Some(made);
            }
        }
        if let ("del", Some(Made::Path(path))) = (&**call.ident, deleted) {
            self.out.push(Touch::Delete { path, certain: self.certain, compact });
        }
        if let Some(closure) = call.closure {
            let before = self.out.len();
            let block = closure.into_inner().block.into_inner();
            self.perhaps(|this| this.each(block.into_inner()));
            // The next round sees what this one has written.
            let rounds = self.out.split_off(before);
            let writes = rounds.iter().filter_map(|touch| match touch {
                Touch::Write { path, .. } => {
                    Some(Touch::Write { path: path.clone(), made: Made::Unknown, certain: false })
                }
                Touch::Read(..) | Touch::Delete { .. } => None,
            });
            self.out.extend(writes.collect::<Vec<_>>());
            self.out.extend(rounds);
        }
        returned(&call.ident)
    }

    fn assignment(&mut self, assignment: Assignment) {
        match assignment {
            Assignment::Single { target, op, expr } => {
                let span = target.start()..target.end();
                let target = path_of(target.into_inner());
                if let (AssignmentOp::Merge, Some(path)) = (&op, &target) {
                    self.out.push(Touch::Read(path.clone(), span));
                }
                let before = self.out.len();
                let made = self.expr(expr.into_inner());
                let read_first = self
                    .out
                    .get(before..)
                    .unwrap_or_default()
                    .iter()
                    .all(|touch| matches!(touch, Touch::Read(..)));
                // What the right side has changed while it was evaluated was read before, or after.
                let made = match op {
                    AssignmentOp::Merge => Made::Unknown,
                    AssignmentOp::Assign if read_first => made,
                    AssignmentOp::Assign => made.without_paths(),
                };
                self.write(target, made);
            }
            Assignment::Infallible { ok, err, expr, .. } => {
                self.perhaps(|this| drop(this.expr(expr.into_inner())));
                self.write(path_of(ok.into_inner()), Made::Unknown);
                self.write(path_of(err.into_inner()), Made::Unknown);
            }
        }
    }

    fn write(&mut self, target: Option<OwnedValuePath>, made: Made) {
        if let Some(path) = target {
            self.out.push(Touch::Write { path, made, certain: self.certain });
        }
    }
}

/// The path of the value that is assigned to.
fn path_of(target: AssignmentTarget) -> Option<OwnedValuePath> {
    match target {
        AssignmentTarget::External(None) => Some(OwnedValuePath::root()),
        AssignmentTarget::External(Some(OwnedTargetPath { prefix: PathPrefix::Event, path })) => Some(path),
        AssignmentTarget::Query(query) => match query.target.into_inner() {
            QueryTarget::External(PathPrefix::Event) => Some(query.path.into_inner()),
            _ => None,
        },
        AssignmentTarget::External(Some(_)) | AssignmentTarget::Internal(..) | AssignmentTarget::Noop => None,
    }
}

fn literal_of(literal: &Literal) -> Made {
    match literal {
        Literal::String(_) | Literal::RawString(_) => Made::Text,
        Literal::Integer(_) => Made::Integer,
        Literal::Float(_) => Made::Number,
        Literal::Boolean(false) => Made::False,
        Literal::Boolean(true) => Made::Boolean,
        Literal::Timestamp(_) => Made::Timestamp,
        Literal::Null => Made::Null,
        Literal::Regex(_) => Made::Unknown,
    }
}

/// What the functions return that say the type of a value or make it one.
fn returned(function: &str) -> Made {
    match function {
        "string" | "to_string" | "downcase" | "upcase" | "join" | "encode_json" | "format_timestamp" => {
            Made::Text
        }
        "int" | "to_int" | "length" | "strlen" | "to_unix_timestamp" => Made::Integer,
        "float" | "to_float" => Made::Number,
        "bool" | "to_bool" | "exists" | "contains" | "starts_with" | "ends_with" => Made::Boolean,
        "timestamp" | "now" | "parse_timestamp" => Made::Timestamp,
        _ => Made::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each touch in a word: `r` read, `w` written, `d` deleted, with `?` where that is not certain.
    fn said(source: &str) -> Vec<String> {
        let sign = |certain: bool| if certain { "" } else { "?" };
        let one = |touch: Touch| match touch {
            Touch::Read(path, span) => {
                let text = source.get(span).unwrap();
                assert!(OwnedTargetPath::event(path).to_string().starts_with(text.trim_end()), "{text}");
                format!("r{text}")
            }
            Touch::Write { path, made, certain } => {
                let made = format!("{made:?}");
                let kind = made.split([' ', '(', '[']).next().unwrap_or_default();
                format!("w{}{}={kind}", sign(certain), OwnedTargetPath::event(path))
            }
            Touch::Delete { path, certain, .. } => {
                format!("d{}{}", sign(certain), OwnedTargetPath::event(path))
            }
        };
        touches(source).unwrap().into_iter().map(one).collect()
    }

    #[test]
    fn a_program_is_followed_in_its_order() {
        for (source, expected) in [
            (".status == \"PAID\"", vec!["r.status"]),
            (".a = .b.c\n.d = del(.a)", vec!["r.b.c", "w.a=Path", "r.a", "d.a", "w.d=Unknown"]),
            (". = { \"id\": .id, \"n\": length!(.l) }", vec!["r.id", "r.l", "w.=Object"]),
            ("if .a == 1 { .b = \"x\" } else { del(.c) }", vec!["r.a", "w?.b=Text", "r.c", "d?.c"]),
            (".n = int(.a) ?? del(.b)", vec!["r.a", "r.b", "d?.b", "w.n=Unknown"]),
            (".a, .err = int(.b)", vec!["r.b", "w.a=Unknown", "w.err=Unknown"]),
            (
                "for_each(array!(.l)) -> |_i, x| { .y = .z; .z = x }",
                vec!["r.l", "w?.y=Unknown", "w?.z=Unknown", "r.z", "w?.y=Path", "w?.z=Unknown"],
            ),
            (". = { \"a\": .b, \"c\": del(.b) }", vec!["r.b", "r.b", "d.b", "w.=Object"]),
            ("del(compact: .a, target: .b)", vec!["r.a", "r.b", "d.b"]),
            (". |= { \"a\": %key }", vec!["r.", "w.=Unknown"]),
            ("if .a == 1 { return . }\ndel(.b)", vec!["r.a", "r.", "r.b", "d?.b"]),
            ("x = .a\nx.b = 1\n.c = x.b", vec!["r.a", "w.c=Unknown"]),
            ("%key == .k", vec!["r.k"]),
            (".t = !bool!(.a) || exists(.b)", vec!["r.a", "r.b", "w.t=Unknown"]),
        ] {
            assert_eq!(said(source), expected, "{source}");
        }
        assert_eq!(touches("(("), None);
    }
}
