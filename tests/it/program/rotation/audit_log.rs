//! The audit log while callers go on: its file is moved away again and again.

use super::*;

const FILE: &str = "audit.jsonl";

impl Rotation {
    /// By SIGHUP and by `boxgate reload` in turn.
    pub(super) fn move_audit_log(&mut self) {
        let file = self.program.folder.join(FILE);
        let moved = format!("audit-{}.jsonl", self.moved.len());
        std::fs::rename(&file, self.program.folder.join(&moved)).unwrap();
        self.load.change(|_| {});
        self.goes_on();
        if self.moved.len().is_multiple_of(2) {
            self.program.hang_up();
            until("the file is made", || file.exists());
        } else {
            self.reload();
            assert!(file.exists());
        }
        self.moved.push(moved);
        self.load.change(|_| {});
        self.goes_on();
    }

    /// The names and texts of all its files, the oldest first.
    pub(super) fn audit_files(&self) -> Vec<(String, String)> {
        let names = self.moved.iter().cloned().chain([FILE.to_owned()]);
        names
            .map(|name| {
                let text = std::fs::read_to_string(self.program.folder.join(&name)).unwrap();
                (name, text)
            })
            .collect()
    }

    /// Each change has one line, which says what the caller got; nothing else of the callers has one; the chain is whole over
    /// all files. Call it once the program has ended.
    pub(super) fn check_audit_log(&self, records: &[Record]) {
        let files = self.audit_files();
        let texts = files.iter().flat_map(|(_, text)| text.lines());
        let lines: Vec<Value> = texts.map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut changes: BTreeMap<&str, &Record> = records
            .iter()
            .filter(|record| record.ask.is_change())
            .map(|record| (record.id.as_str(), record))
            .collect();
        for line in &lines {
            let id = line["request_id"].as_str().unwrap_or_else(|| panic!("no line of a request: {line}"));
            let Record { ask, status, .. } =
                changes.remove(id).unwrap_or_else(|| panic!("more than one: {line}"));
            let (app, identity) = ask.serves();
            let said = [&line["app"], &line["identity"], &line["operation"], &line["end"]];
            assert_eq!(said, [app, identity, "POST /2.0/files/content", "complete"], "{line}");
            assert_eq!(line["status"], *status, "{line}");
            assert_eq!(line["targets"].as_array().map(Vec::len), Some(1), "{line}");
        }
        assert!(changes.is_empty(), "without a line: {changes:?}");
        assert!(files.iter().all(|(_, text)| !text.is_empty()), "callers went on between");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let output = boxgate(&self.program.folder, &[&["audit", "verify", "--json"], &names[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&found["lines"], &found["lost"]), (&lines.len().into(), &0.into()), "{found}");
    }
}
