//! The blocks of code of a document. A comment in the line above a block is its mark:
//!
//! - `<!-- runs -->`: a block of `sh` that ends well while `boxgate sandbox` runs, from which it takes the addresses;
//! - `<!-- prints -->`: what the block before it prints, in November 2026;
//! - `<!-- writes: FILE -->`: a file that later blocks need.

/// A block of code.
pub(super) struct Block {
    /// The number of its first line.
    pub(super) line: usize,
    /// The info string of its fence, such as `sh`.
    pub(super) kind: String,
    pub(super) mark: Option<Mark>,
    pub(super) text: String,
}

/// The mark of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    Runs,
    Prints,
    Writes(String),
}

impl Mark {
    /// `None` for any other comment.
    fn of(line: &str) -> Option<Self> {
        let inner = line.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        match inner {
            "runs" => Some(Self::Runs),
            "prints" => Some(Self::Prints),
            _ => inner.strip_prefix("writes: ").map(|name| Self::Writes(name.to_owned())),
        }
    }
}

/// The blocks of a document, in its order. A mark without a block is a mistake.
pub(super) fn blocks(document: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut mark = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = inside.map(|line| format!("{line}\n")).collect();
            blocks.push(Block { line: number + 2, kind: kind.to_owned(), mark: mark.take(), text });
        } else {
            assert_eq!(mark, None, "{document}:{number}: no block follows this mark");
            mark = Mark::of(line);
        }
    }
    blocks
}

#[test]
fn a_mark_belongs_to_the_block_below() {
    let text = "a\n\n<!-- runs -->\n```sh\ntrue\n```\n\n<!-- reload: x -->\n\n```text\nb\n```\n";
    let marks: Vec<_> =
        blocks("a.md", text).into_iter().map(|block| (block.kind, block.mark, block.text)).collect();
    let (sh, other) = (Some(Mark::Runs), None);
    assert_eq!(
        marks,
        [("sh".to_owned(), sh, "true\n".to_owned()), ("text".to_owned(), other, "b\n".to_owned())]
    );
}
