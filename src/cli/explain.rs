//! `weir explain CODE`: a page for each code, built in.

use super::terminal::Terminal;
use super::{CliError, Exit};
use crate::spec::diagnostic::did_you_mean;

/// What to explain.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A code, such as W0104.
    #[arg(required_unless_present = "list")]
    pub code: Option<String>,
    /// List all codes.
    #[arg(long)]
    pub list: bool,
}

macro_rules! pages {
    ($($code:literal)+) => {
        /// Every code and its page.
        const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../../docs/errors/", $code, ".md"))),)+];
    };
}

pages! {
    "W0101" "W0102" "W0103" "W0104" "W0105" "W0106" "W0107" "W0108"
    "W0109" "W0110" "W0111" "W0112" "W0113" "W0114" "W0115" "W0116"
    "W0117" "W0118" "W0119" "W0201" "W0202" "W0203" "W0204" "W0205"
    "W0206" "W0207" "W0208" "W0209" "W0210" "W0211" "W0212" "W0213"
    "W0301" "W0302" "W0303" "W0304" "W0305" "W0306" "W0307" "W0308"
    "W0309" "W0310" "W0311" "W0312" "W0313" "W0314" "W0401" "W0402"
    "W0403" "W0505" "W0507" "W0508" "W0509" "W0601" "W0602" "W0603"
    "W0604" "W0701" "W0702" "W0703" "W0801" "W0811" "W0812" "W0821"
    "W1001"
}

/// The page of a code, in any case of letters; `None` where there is no such code.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, page)| *page)
}

/// Prints a page, or the list; wrong use for a code that does not exist.
pub fn run(args: &Args, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let Some(code) = args.code.as_deref().filter(|_| !args.list) else {
        for (_, page) in PAGES {
            writeln!(terminal.out, "{}", page.lines().next().unwrap_or("").trim_start_matches("# "))?;
        }
        return Ok(Exit::Yes);
    };
    let Some(page) = page(code) else {
        let near = did_you_mean(code, PAGES.iter().map(|(known, _)| *known));
        let help = near.map_or_else(
            || "list them with: weir explain --list".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        return Err(CliError::new(Exit::Usage, format!("there is no code `{code}`; {help}")));
    };
    terminal.out.write_all(page.as_bytes())?;
    Ok(Exit::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_page_in_any_case() {
        assert!(page("w0104").unwrap().starts_with("# W0104: an unknown field\n"));
        assert_eq!(page("W9999"), None);
    }

    /// Every code that the source gives has a page, and every page is well formed.
    #[test]
    fn every_code_of_the_source_has_a_page() {
        fn visit(folder: &std::path::Path, missing: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(&path, missing);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let product = text.split("#[cfg(test)]").next().unwrap_or("");
                    for (at, _) in product.match_indices("\"W0") {
                        let code: String = product[at + 1..].chars().take(5).collect();
                        let is_code = code[1..].chars().all(|c| c.is_ascii_digit());
                        let tests = path.to_string_lossy().contains("test");
                        if is_code && !tests && page(&code).is_none() {
                            missing.push(format!("{code} of {}", path.display()));
                        }
                    }
                }
            }
        }
        let mut missing = Vec::new();
        visit(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut missing);
        assert!(missing.is_empty(), "no page: {missing:?}");
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}: ")) && page.contains("**What to do.**"), "{code}");
        }
    }
}
