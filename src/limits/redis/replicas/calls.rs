//! The calls that each replica has counted, for whoever sums them.
//!
//! A replica writes its own counts under its own name, as they are: writing twice changes nothing, so nothing is counted
//! twice. An operation here that fails or is slow does not give up the connection, since limits need it: what is told
//! late is only told late. One hash for each day has the counts of all replicas.

use std::collections::HashMap;
use std::time::Duration;

use redis::{FromRedisValue, Pipeline};
use tokio::time::timeout;

use super::{Health, Replicas};

/// The timeout of an operation. Requests do not wait for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the 13 months for which calls are kept.
const KEPT: Duration = Duration::from_secs(430 * 86_400);

/// The count of a replica's app, identity and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToldCalls<S> {
    /// The replica's name.
    pub(crate) replica: S,
    pub(crate) app: S,
    pub(crate) identity: S,
    pub(crate) class: S,
    pub(crate) calls: u64,
}

/// Which replicas have told their calls, and of which months there are calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CallRegister {
    /// Each with the time in seconds since 1970 at which it began to count.
    pub(crate) replicas: HashMap<String, i64>,
    pub(crate) months: Vec<String>,
}

impl Replicas {
    /// Writes counts of one day, or of one month for calls of no known day. Names have no `/`.
    ///
    /// # Errors
    /// Why not, for the log; nothing or all of them may have been written.
    pub(crate) async fn tell_calls(&self, span: &str, calls: &[ToldCalls<&str>]) -> Result<(), String> {
        let key = self.keys.calls(span);
        let mut pipe = redis::pipe();
        let write = pipe.cmd("HSET").arg(&key);
        for ToldCalls { replica, app, identity, class, calls } in calls {
            write.arg(format!("{replica}/{app}/{identity}/{class}")).arg(*calls);
        }
        pipe.ignore().cmd("PEXPIRE").arg(&key).arg(KEPT.as_millis() as u64).ignore();
        self.exchange(&pipe).await
    }

    /// Marks that this replica has told all its calls, of these months. It began to count at `since`; both times are
    /// seconds since 1970. Forgets replicas and months that nobody has marked for 13 months.
    ///
    /// # Errors
    /// As [`Replicas::tell_calls`].
    pub(crate) async fn register(
        &self,
        replica: &str,
        since: i64,
        months: &[String],
        now: i64,
    ) -> Result<(), String> {
        let (key, old) = (self.keys.call_register(), now.saturating_sub(KEPT.as_secs() as i64));
        let mut pipe = redis::pipe();
        let mark = pipe.cmd("ZADD").arg(&key).arg(now).arg(member(replica, since));
        for month in months {
            mark.arg(now).arg(format!("month/{month}"));
        }
        pipe.ignore();
        pipe.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(old).ignore();
        pipe.cmd("PEXPIRE").arg(&key).arg(KEPT.as_millis() as u64).ignore();
        self.exchange(&pipe).await
    }

    /// Whether this mark is still there: not if Redis has lost its data.
    ///
    /// # Errors
    /// Why that is not known, for the log.
    pub(crate) async fn is_registered(&self, replica: &str, since: i64) -> Result<bool, String> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZSCORE").arg(self.keys.call_register()).arg(member(replica, since));
        let (score,): (Option<f64>,) = self.exchange(&pipe).await?;
        Ok(score.is_some())
    }

    /// Which replicas have told their calls.
    ///
    /// # Errors
    /// Why that is not known, for operators.
    pub(crate) async fn call_register(&self) -> Result<CallRegister, String> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(self.keys.call_register()).arg(0).arg(-1);
        let (members,): (Vec<String>,) = self.exchange(&pipe).await?;
        let mut register = CallRegister::default();
        for member in members {
            let mut parts = member.split('/');
            match (parts.next(), parts.next(), parts.next()) {
                (Some("replica"), Some(replica), Some(since)) => {
                    if let Ok(since) = since.parse() {
                        register.replicas.insert(replica.to_owned(), since);
                    }
                }
                (Some("month"), Some(month), None) => register.months.push(month.to_owned()),
                _ => {}
            }
        }
        Ok(register)
    }

    /// The counts of all replicas of one day, or of one month for calls of no known day.
    ///
    /// # Errors
    /// Why they are not known, for operators.
    pub(crate) async fn told_calls(&self, span: &str) -> Result<Vec<ToldCalls<String>>, String> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGETALL").arg(self.keys.calls(span));
        let (fields,): (HashMap<String, String>,) = self.exchange(&pipe).await?;
        // Other programs may have written to the key: what makes no sense is absent.
        let told = fields.into_iter().filter_map(|(name, calls)| {
            let mut names = name.split('/').map(str::to_owned);
            let told = ToldCalls {
                replica: names.next()?,
                app: names.next()?,
                identity: names.next()?,
                class: names.next()?,
                calls: calls.parse().ok()?,
            };
            names.next().is_none().then_some(told)
        });
        Ok(told.collect())
    }

    async fn exchange<T: FromRedisValue>(&self, pipe: &Pipeline) -> Result<T, String> {
        let Some(link) = self.link.load_full() else {
            return Err(match self.health() {
                Health::Local { since, why } => {
                    format!("Redis has not been usable for {} s ({why})", since.elapsed().as_secs())
                }
                Health::Shared => "Redis is not usable".to_owned(),
            });
        };
        let mut connection = link.connection.clone();
        match timeout(PATIENCE, pipe.query_async(&mut connection)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(self.target.words(&error)),
            Err(_) => Err(format!("Redis has not answered within {PATIENCE:?}")),
        }
    }
}

/// What marks a replica.
fn member(replica: &str, since: i64) -> String {
    format!("replica/{replica}/{since}")
}
