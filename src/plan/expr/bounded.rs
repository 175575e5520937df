//! `join` and `replace` as VRL has them, with a bound on the text that they make: there the sizes of two parts of a
//! record multiply.

use vrl::compiler::Function;
use vrl::compiler::prelude::*;
use vrl::value::Value;

use super::measure::MAX_BYTES;

/// VRL's function of this name, bounded; the function itself where it needs no bound.
pub(super) fn bounded(inner: Box<dyn Function>) -> Box<dyn Function> {
    let make: fn(&ArgumentList) -> Box<dyn Expression> = match inner.identifier() {
        "join" => |arguments| {
            Join { value: arguments.required("value"), separator: arguments.optional("separator") }.as_expr()
        },
        "replace" => |arguments| {
            let (value, pattern) = (arguments.required("value"), arguments.required("pattern"));
            let (with, count) = (arguments.required("with"), arguments.optional("count"));
            Replace { value, pattern, with, count }.as_expr()
        },
        _ => return inner,
    };
    Box::new(Bounded { inner, make })
}

#[derive(Debug)]
struct Bounded {
    inner: Box<dyn Function>,
    make: fn(&ArgumentList) -> Box<dyn Expression>,
}

impl Function for Bounded {
    fn identifier(&self) -> &'static str {
        self.inner.identifier()
    }

    fn usage(&self) -> &'static str {
        self.inner.usage()
    }

    fn category(&self) -> &'static str {
        self.inner.category()
    }

    fn return_kind(&self) -> u16 {
        self.inner.return_kind()
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.inner.parameters()
    }

    fn examples(&self) -> &'static [Example] {
        self.inner.examples()
    }

    fn compile(
        &self,
        _: &state::TypeState,
        _: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        Ok((self.make)(&arguments))
    }
}

fn too_long(function: &str) -> ExpressionError {
    format!("{function} would make a text of more than {MAX_BYTES} bytes").into()
}

#[derive(Debug, Clone)]
struct Join {
    value: Box<dyn Expression>,
    separator: Option<Box<dyn Expression>>,
}

impl FunctionExpression for Join {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let list = self.value.resolve(ctx)?.try_array()?;
        let separator = self.separator.as_ref().map(|s| s.resolve(ctx)).transpose()?;
        let separator = separator.as_ref().map(|s| s.try_bytes_utf8_lossy()).transpose()?.unwrap_or_default();
        let mut out = String::new();
        for (at, item) in list.iter().enumerate() {
            let item = item.to_str_lossy().ok_or("all array items must be strings")?;
            if out.len() + separator.len() + item.len() > MAX_BYTES {
                return Err(too_long("join"));
            }
            if at > 0 {
                out.push_str(&separator);
            }
            out.push_str(&item);
        }
        Ok(Value::from(out))
    }

    fn type_def(&self, _: &state::TypeState) -> TypeDef {
        TypeDef::bytes()
    }
}

#[derive(Debug, Clone)]
struct Replace {
    value: Box<dyn Expression>,
    pattern: Box<dyn Expression>,
    with: Box<dyn Expression>,
    count: Option<Box<dyn Expression>>,
}

impl FunctionExpression for Replace {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let value = self.value.resolve(ctx)?;
        let with = self.with.resolve(ctx)?;
        let count = match &self.count {
            Some(count) => count.resolve(ctx)?.try_integer()?,
            None => -1,
        };
        let pattern = self.pattern.resolve(ctx)?;
        let (value, with) = (value.try_bytes_utf8_lossy()?, with.try_bytes_utf8_lossy()?);
        let count = if count < 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
        let mut out = String::new();
        let mut from = 0;
        let mut push = |out: &mut String, until: usize, size: usize| {
            let before = value.get(from..until).unwrap_or("");
            if out.len().saturating_add(before.len()).saturating_add(size) > MAX_BYTES {
                return Err(too_long("replace"));
            }
            out.push_str(before);
            from = until;
            Ok::<(), ExpressionError>(())
        };
        let mut ends = 0;
        match &pattern {
            Value::Regex(regex) => {
                for captures in regex.captures_iter(&value).take(count) {
                    let Some(all) = captures.get(0) else { continue };
                    // Each `$` of `with` may stand for the whole match.
                    let dollars = with.bytes().filter(|b| *b == b'$').count();
                    push(
                        &mut out,
                        all.start(),
                        with.len().saturating_add(dollars.saturating_mul(all.len())),
                    )?;
                    captures.expand(&with, &mut out);
                    ends = all.end();
                    push(&mut String::new(), ends, 0)?;
                }
            }
            other => {
                let pattern = other.try_bytes_utf8_lossy()?;
                for (start, found) in value.match_indices(&*pattern).take(count) {
                    push(&mut out, start, with.len())?;
                    out.push_str(&with);
                    ends = start + found.len();
                    push(&mut String::new(), ends, 0)?;
                }
            }
        }
        push(&mut out, value.len().max(ends), 0)?;
        Ok(Value::from(out))
    }

    fn type_def(&self, _: &state::TypeState) -> TypeDef {
        TypeDef::bytes().infallible()
    }
}
