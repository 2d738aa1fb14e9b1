//! What is told of one of the last requests, in `/requests.json` and on the page.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use crate::routing::operation_class::Class;
use crate::routing::operation_template;
use crate::telemetry::recent_requests::{LONGEST, RecentRequest, Text};

/// A request that has ended. A field that an access line has too means the same; those without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'r> {
    /// When it ended: RFC 3339, with milliseconds.
    pub(super) time: String,
    #[serde(skip)]
    pub(super) ended: SystemTime,
    pub(super) request_id: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<&'r str>,
    pub(super) client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) as_user: Option<&'r str>,
    pub(super) method: &'r str,
    pub(super) path: &'r str,
    /// Whether `path` is all of the request's path, not a template or a part.
    #[serde(skip)]
    pub(super) is_whole_path: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<&'static str>,
    pub(super) status: u16,
    pub(super) answered_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) box_code: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) box_request_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) would_refuse: Option<&'r str>,
    pub(super) end: &'static str,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// The host of Box to which it was sent last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<&'r str>,
    pub(super) attempts: u32,
    #[serde(flatten)]
    pub(super) times: Times,
}

/// How long a request took, and with what, in milliseconds. What is in none of the parts is the gateway's own work, and
/// attempts at Box before the last.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Times {
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub(super) total: Duration,
    #[serde(rename = "wait_ms", serialize_with = "millis")]
    pub(super) waited: Duration,
    #[serde(rename = "wait_limit_ms", serialize_with = "millis")]
    pub(super) waited_for_limit: Duration,
    #[serde(rename = "wait_token_ms", serialize_with = "millis")]
    pub(super) waited_for_token: Duration,
    #[serde(rename = "box_ms", serialize_with = "some_millis", skip_serializing_if = "Option::is_none")]
    pub(super) to_head: Option<Duration>,
    #[serde(rename = "body_ms", serialize_with = "some_millis", skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<Duration>,
}

/// Three digits behind the point, as in an access line.
fn millis<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = u32::try_from((time.as_nanos() + 500) / 1000);
    serializer.serialize_f64(
        micros.map_or_else(|_| time.as_secs_f64() * 1000.0, |micros| f64::from(micros) / 1000.0),
    )
}

fn some_millis<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    millis(&time.unwrap_or_default(), serializer)
}

impl<'r> Entry<'r> {
    /// What is known of the request.
    pub(super) fn of(request: &'r RecentRequest) -> Self {
        let facts = &request.facts;
        let text = |of| request.text(of);
        let (method, path) = (text(Text::Method).unwrap_or_default(), text(Text::Path).unwrap_or_default());
        let template = match facts.operation_at {
            None => text(Text::Operation).map(str::to_owned),
            Some(at) => path.get(usize::from(at)..).map(|path| {
                let mut template = String::with_capacity(path.len());
                operation_template::push(path, &mut template);
                template
            }),
        };
        Self {
            time: rfc_3339(facts.ended.wall),
            ended: facts.ended.wall,
            request_id: text(Text::RequestId).unwrap_or_default(),
            trace_id: text(Text::TraceId),
            client: facts.client.to_string(),
            user_agent: text(Text::UserAgent),
            app: text(Text::App),
            identity: text(Text::Identity),
            as_user: text(Text::AsUser),
            method,
            path,
            is_whole_path: path.starts_with('/') && path.len() < LONGEST && !path.contains('*'),
            operation: template.map(|template| format!("{method} {template}")),
            class: facts
                .class
                .and_then(|class| Class::ALL.get(usize::from(class.0)))
                .map(|class| class.as_str()),
            status: facts.status,
            answered_by: facts.answered_by.as_str(),
            code: facts.code,
            rule: text(Text::Rule),
            box_code: text(Text::BoxCode),
            box_request_id: text(Text::BoxRequestId),
            cause: text(Text::Cause),
            limit: text(Text::Limit),
            would_refuse: text(Text::WouldRefuse),
            end: facts.end,
            bytes_in: facts.bytes_in,
            bytes_out: facts.bytes_out,
            host: text(Text::Host),
            attempts: facts.attempts,
            times: Times {
                total: facts.total,
                waited: facts.waited_for_limit + facts.waited_for_token,
                waited_for_limit: facts.waited_for_limit,
                waited_for_token: facts.waited_for_token,
                to_head: facts.box_time,
                body: facts.body_time,
            },
        }
    }
}

fn rfc_3339(time: SystemTime) -> String {
    format!("{:.3}", Timestamp::try_from(time).unwrap_or_default())
}
