//! Pipelines in the YAML blocks of a Markdown file.

use std::sync::Arc;

use super::span::Source;

/// The blocks that begin with `pipeline:`, each as a text of its own in which every line keeps its number: findings name the
/// lines of the Markdown file.
pub fn blocks(markdown: &Source) -> Vec<Arc<Source>> {
    let mut blocks = Vec::new();
    let mut open: Option<Fence> = None;
    for (number, line) in (1..).zip(markdown.text().lines()) {
        match &mut open {
            None => open = Fence::opened_by(line, number),
            Some(fence) if fence.is_closed_by(line) => {
                blocks.extend(open.take().and_then(|fence| fence.source(markdown.name())));
            }
            Some(fence) => fence.lines.push(line.to_owned()),
        }
    }
    // A block that is not closed goes on to the end (CommonMark).
    blocks.extend(open.and_then(|fence| fence.source(markdown.name())));
    blocks
}

/// A fenced block.
struct Fence {
    mark: char,
    length: usize,
    yaml: bool,
    /// The number of the line of the fence.
    number: usize,
    lines: Vec<String>,
}

impl Fence {
    fn opened_by(line: &str, number: usize) -> Option<Fence> {
        let text = line.trim_start_matches(' ');
        if line.len() - text.len() > 3 {
            return None;
        }
        let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let length = text.chars().take_while(|c| *c == mark).count();
        let info = text.get(length..)?.trim();
        if length < 3 || (mark == '`' && info.contains('`')) {
            return None;
        }
        let language = info.split([' ', ',', '{']).next().unwrap_or("");
        let yaml = ["yaml", "yml"].iter().any(|name| language.eq_ignore_ascii_case(name));
        Some(Fence { mark, length, yaml, number, lines: Vec::new() })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let text = line.trim();
        line.len() - line.trim_start_matches(' ').len() <= 3
            && text.chars().all(|c| c == self.mark)
            && text.chars().count() >= self.length
    }

    fn source(self, name: &str) -> Option<Arc<Source>> {
        let first =
            self.lines.iter().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))?;
        if !self.yaml || !first.starts_with("pipeline:") {
            return None;
        }
        let above = "\n".repeat(self.number);
        Some(Source::new(name, format!("{above}{}\n", self.lines.join("\n"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(markdown: &str) -> Vec<String> {
        blocks(&Source::new("README.md", markdown)).iter().map(|block| block.text().to_owned()).collect()
    }

    #[test]
    fn yaml_blocks_that_begin_with_a_pipeline_keep_their_lines() {
        let text = "# Title\n\n```yaml\n# so\npipeline: a\nsource: t\n```\n\n~~~~ YML title=x\npipeline: b\n~~~\n~~~~\n";
        let a = "\n\n\n# so\npipeline: a\nsource: t\n";
        let b = format!("{}pipeline: b\n~~~\n", "\n".repeat(9));
        assert_eq!(found(text), [a.to_owned(), b]);
    }

    #[test]
    fn other_blocks_are_left_alone() {
        for text in [
            "pipeline: a\n",
            "```\npipeline: a\n```\n",
            "```json\npipeline: a\n```\n",
            "```yaml\nother: a\n```\n",
            "```yaml\n  pipeline: a\n```\n",
            "    ```yaml\npipeline: a\n",
            "```yaml\n```\n",
            "````\n```yaml\npipeline: a\n```\n````\n",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        assert_eq!(found("```yaml\npipeline: a\n"), ["\npipeline: a\n"], "not closed");
    }
}
