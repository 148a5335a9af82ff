//! Requests that nobody sends, explained.

use crate::{
    losses::lossy,
    support::{MODEL, START_US, gateway, id, scripted},
};
use bytes::Bytes;
use domain::{
    bindings::Binding,
    catalog::Catalog,
    format::{ApiFormat, ConversionLoss, SchedulingMode},
    ports::Clock,
    schedule::SkipCode,
};
use relay::{
    bindings::Bindings,
    explain::{Explanation, NoAnswer, Question, explain},
    health::Health,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};
use testkit::Reply;

/// The time does not matter here.
struct Still;

impl Clock for Still {
    fn unix_us(&self) -> i64 {
        START_US
    }

    fn monotonic_us(&self) -> u64 {
        0
    }
}

fn asking(format: ApiFormat, body: &Value) -> Question {
    Question {
        client: "laptop".to_owned(),
        model: MODEL.to_owned(),
        format,
        session: String::new(),
        features: Vec::new(),
        capabilities: Vec::new(),
        body: body.to_string().into(),
    }
}

#[test]
fn an_explanation_says_who_cannot_take_a_request_over_and_why() {
    let chat = scripted([]);
    let builder = gateway()
        .upstream(ApiFormat::OpenAi, &chat)
        .upstream(ApiFormat::Gemini, &chat)
        .with(|builder| builder.parts.settings.conversion_loss = ConversionLoss::Reject);
    let catalog = Arc::new(Catalog::build(builder.parts).unwrap());
    let (health, _) = Health::alone(Arc::new(Still), catalog.clone());
    let (_, body) = lossy();
    let known = Bindings::default();
    let mut question = asking(ApiFormat::Claude, &body);
    let told = explain(&catalog, &health, &known, &question, START_US).unwrap();
    assert_eq!((told.chosen.len(), told.refused.len()), (1, 1));
    let refused = &told.refused[0];
    assert_eq!(refused.code, SkipCode::ConversionUnsupported);
    assert!(refused.lacks.as_deref().is_some_and(|lacks| lacks.starts_with("/top_k: ")), "{refused:?}");
    assert!(told.to_string().contains("conversion_unsupported (/top_k: "), "{told}");
    question.body = Bytes::new();
    assert_eq!(
        explain(&catalog, &health, &known, &question, START_US).unwrap().chosen.len(),
        2,
        "nothing is known of it"
    );
}

#[test]
fn what_the_body_names_is_served_where_it_was_issued_and_for_whom_alone() {
    let upstream = scripted([]);
    let builder = gateway().upstream(ApiFormat::OpenAiCli, &upstream).upstream(ApiFormat::OpenAiCli, &upstream);
    let catalog = Arc::new(Catalog::build(builder.parts).unwrap());
    let (health, _) = Health::alone(Arc::new(Still), catalog.clone());
    let body = json!({ "model": MODEL, "input": "and?", "previous_response_id": "resp_1" });
    let question = asking(ApiFormat::OpenAiCli, &body);
    let things = question.names().unwrap();
    assert_eq!(things, [wire::state::fingerprint(b"resp_1")]);

    let explained = |client: u128, issuer: u128| {
        let known = Bindings::default();
        let binding = Binding { client: id(client), issuer: id(issuer), expires_us: START_US + 1_000_000 };
        known.bind(things[0], binding, START_US);
        explain(&catalog, &health, &known, &question, START_US)
    };
    let outline = |told: Explanation| {
        let chosen: Vec<String> = told.chosen.into_iter().map(|chosen| chosen.name).collect();
        (chosen, told.refused.into_iter().map(|refused| (refused.name, refused.code)).collect::<Vec<_>>())
    };
    let name = |number: u8| format!("provider-{number}/OPENAI_CLI/main");
    for (issuer, first, other) in [(112, 1, 0), (102, 0, 1)] {
        let told = outline(explained(2, issuer).unwrap());
        assert_eq!(told, (vec![name(first)], vec![(name(other), SkipCode::StateBound)]));
    }
    let refused = explained(20, 112).unwrap_err();
    assert_eq!(refused, NoAnswer::Named("resp_1: not found".to_owned()));
    let unread = Question { body: Bytes::from_static(b"[]"), ..question.clone() };
    assert!(matches!(unread.names(), Err(NoAnswer::Body(_))));
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_explained_where_it_goes() {
    let upstream = scripted((0..40).map(|_| Reply::text(["ok"]).usage(1, 1)));
    let even = || {
        let builder = (0..4).fold(gateway(), |builder, _| builder.upstream(ApiFormat::OpenAi, &upstream));
        builder.with(|builder| {
            builder.parts.providers.iter_mut().for_each(|provider| provider.priority = 0);
            builder.parts.settings.scheduling_mode = SchedulingMode::FixedOrder; // nothing is warm
        })
    };
    let catalog = Arc::new(Catalog::build(even().parts).unwrap());
    let (health, _) = Health::alone(Arc::new(Still), catalog.clone());
    let gw = even().start();
    let known = Bindings::default();
    let mut asked = BTreeSet::new();
    for number in 0..20 {
        let session = format!("conversation {number}");
        let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] });
        let named = Question { session: session.clone(), ..asking(ApiFormat::OpenAi, &body) };
        body["prompt_cache_key"] = session.into();
        assert_eq!(gw.post("/v1/chat/completions", &body).await.status, 200);
        let went = gw.kept.settled.lock().unwrap().last().unwrap().usage.clone();
        let unnamed = asking(ApiFormat::OpenAi, &body);
        for question in [named, unnamed] {
            let told = explain(&catalog, &health, &known, &question, START_US).unwrap();
            assert_eq!(told.chosen[0].name, format!("{}/OPENAI/main", went.provider), "{number}");
        }
        asked.insert(went.provider);
    }
    assert!(asked.len() > 1, "they are spread: {asked:?}");
}
