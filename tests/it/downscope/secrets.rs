//! Both tokens in answers that repeat them: Box accepts the one that was exchanged as long as the other.

use super::*;

/// The tokens that were sent to be exchanged, oldest first.
fn parents(bench: &Bench) -> Vec<String> {
    let forms = bench.sandbox.token_seen().into_iter().map(|seen| form(&seen));
    let token = |form: Vec<(String, String)>| form.into_iter().find(|(key, _)| key == "subject_token");
    forms.filter_map(token).map(|(_, token)| token).collect()
}

fn child(bench: &Bench) -> String {
    let seen = bench.sandbox.last_seen().unwrap();
    seen.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn both_tokens_are_blanked_in_answers_of_box_until_they_end() {
    let narrow = Narrow::start().await;
    let Narrow { bench, .. } = &narrow;
    assert_eq!(bench.get(ME).await.status(), 200);
    let [parent] = &parents(bench)[..] else { panic!("one exchange") };
    let child = child(bench);
    let says = async |text: &str| {
        bench.sandbox.script(ME, vec![echo(text)]);
        bench.get(ME).await.text().await.unwrap()
    };
    let said = says(&format!("{parent} {child} canary")).await;
    assert!(said.contains("canary") && !said.contains(parent) && !said.contains(&child), "{said}");
    // The next pair takes their place; Box accepts these until their end.
    assert_eq!(narrow.renew().await.0, 200);
    let said = says(&format!("{parent} {child} canary")).await;
    assert!(said.contains("canary") && !said.contains(parent) && !said.contains(&child), "{said}");
}

#[tokio::test]
async fn a_token_whose_exchange_failed_is_blanked_too() {
    let narrow = Narrow::start().await;
    let Narrow { bench, .. } = &narrow;
    bench.sandbox.exchange_always(Some(TokenAnswer::Status(500)));
    assert_eq!(narrow.renew().await.0, 503);
    let [_, parent] = &parents(bench)[..] else { panic!("two exchanges") };
    bench.sandbox.script(ME, vec![echo(parent)]);
    let said = bench.get(ME).await.text().await.unwrap();
    assert!(said.contains("\"code\"") && !said.contains(parent), "{said}");
}
