//! The part of the record that is for the audit log: what Box's answer names, and the line at the end.

use http::{Response, StatusCode};

use super::{OperationPath, RequestRecord};
use crate::http::content_encoding;
use crate::proxy::answer_ids::AnswerBeginning;
use crate::proxy::audit_line::{self, AuditFacts};
use crate::proxy::rewrite;
use crate::telemetry::audit::audit_log::AuditLog;

impl RequestRecord {
    /// Reads the beginning of Box's answer while it passes, if it may name what was made or changed.
    pub(crate) fn read_answer<B>(&mut self, response: &Response<B>) {
        let (status, headers) = (response.status(), response.headers());
        if self.worker.audit().is_some()
            && status.is_success()
            && self.is_change()
            && rewrite::is_json(status, headers)
        {
            self.answer = Some(Box::new(AnswerBeginning::new(content_encoding::of(headers))));
        }
    }

    /// Looks at a piece of the answer that is passed on.
    pub(crate) fn answer_passes(&mut self, piece: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.feed(piece);
        }
    }

    /// The path of the operation as sent. Of a request that was refused before its route was known, what may be one.
    fn operation_path(&self) -> Option<&str> {
        let path = self.uri.path();
        match self.operation {
            Some(OperationPath::Template(template)) => Some(template),
            Some(OperationPath::From(byte)) => path.get(byte..),
            // The path may be a credential.
            None if self.template.is_some() => None,
            None => path.get(path.find("/2.0/")?..),
        }
    }

    fn is_change(&self) -> bool {
        audit_line::is_change(&self.method, self.operation_path())
    }

    /// Writes the audit line, if it is a call that changes something at Box. `status`: what the caller was answered with.
    pub(super) fn audit(&self, log: &AuditLog, status: Option<StatusCode>) {
        // Pages and tokens of the gateway's own.
        let is_own = self.attempts == 0 && self.code.is_none() && status.is_some();
        if is_own || !self.is_change() {
            return;
        }
        let of_head = self.box_request_id.as_ref().and_then(|id| std::str::from_utf8(id.as_bytes()).ok());
        log.write(audit_line::object(&AuditFacts {
            time: self.worker.clock().wall(),
            app: self.app.and_then(|app| self.gateway.app_name(app)),
            client: self.client,
            identity: self.identity_name(),
            as_user: self.as_user.as_deref(),
            method: &self.method,
            path: self.operation_path().filter(|_| !self.is_hidden()),
            answer: self.answer.as_deref(),
            status,
            code: self.code,
            box_status: self.box_status,
            box_code: self.box_error.code.as_deref(),
            end: self.end.as_str(),
            attempts: self.attempts,
            request_id: self.request_id_text(),
            box_request_id: self.box_error.request_id.as_deref().or(of_head),
        }));
    }
}
