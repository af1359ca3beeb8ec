//! The OpenAPI document agrees with what is served.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Broker};

#[actix_web::test]
async fn the_document_is_what_it_was() {
    let broker = Broker::start().await;
    let mut answer = broker.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    answer.body["info"]["version"] = "0".into();
    insta::assert_json_snapshot!("openapi", answer.body);
}

#[test]
fn the_document_names_every_endpoint_and_no_other() {
    let document = serde_json::to_value(reveille::api::document()).unwrap();
    let mut told = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            told.insert((path.clone(), method.to_uppercase()));
        }
    }
    let served: BTreeSet<(String, String)> = reveille::api::endpoints()
        .iter()
        .map(|e| (e.path.to_owned(), e.method.to_string()))
        .collect();
    assert_eq!(told, served);
}

#[test]
fn every_response_of_the_document_is_described_as_the_specification_demands() {
    let document = serde_json::to_value(reveille::api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let responses = operations.flat_map(|one| one["responses"].as_object().unwrap().values());
    let described = |response: &&Value| {
        let text = response["description"].as_str();
        text.is_some_and(|text| !text.is_empty())
    };
    let (told, untold): (Vec<_>, Vec<_>) = responses.partition(described);
    assert!(untold.is_empty() && told.len() > 80, "{untold:?}");
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(target) if name == "$ref" => found.push(target.clone()),
                        other => references(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = serde_json::to_value(reveille::api::document()).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

#[actix_web::test]
async fn every_endpoint_is_there_and_refuses_other_methods_by_name() {
    let broker = Broker::start().await;
    for endpoint in reveille::api::endpoints() {
        let path = endpoint
            .path
            .replace("{tenant}", "contoso")
            .replace("{app}", "contoso");
        let path = path.replace("{device}", "nobody").replace("{id}", "none");
        let method: Method = endpoint.method.as_str().parse().unwrap();
        let served = broker.request(method.clone(), &path).send().await.unwrap();
        let status = served.status().as_u16();
        let text = served.text().await.unwrap();
        assert!(
            status != 405 && !text.contains("no-such-path"),
            "{method} {path}: {text}"
        );
        let other = Answer::of(broker.request(Method::TRACE, &path)).await;
        assert_eq!(
            (other.status, other.problem()),
            (405, "method-not-allowed"),
            "{path}"
        );
        let guarded = path.ends_with("/devices/delete");
        let allowed: Vec<&str> = other.header("allow").split(", ").collect();
        assert!(
            guarded || allowed.contains(&method.as_str()),
            "{path}: {allowed:?}"
        );
    }
}
