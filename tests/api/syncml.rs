//! SyncML over the API: commands for a session, and what a device's message comes to.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Broker, uri};

const PATH: &str = "/v1/tenants/contoso/syncml";
const ROOT: &str = "./Vendor/MSFT/DMClient/Provider/MS%20DM%20Server/Push";

fn message(device: &str, body: &str) -> String {
    format!(
        "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><SessionID>1</SessionID><MsgID>2</MsgID>\
         <Source><LocURI>{device}</LocURI></Source></SyncHdr><SyncBody>{body}<Final/></SyncBody></SyncML>"
    )
}

fn result(node: &str, data: &str) -> String {
    format!(
        "<Results><CmdID>3</CmdID><CmdRef>4</CmdRef><Item><Source><LocURI>{ROOT}/{node}</LocURI></Source>\
         <Data>{data}</Data></Item></Results>"
    )
}

async fn said(broker: &Broker, query: &str, body: String) -> Answer {
    let request = broker.request(Method::POST, &format!("{PATH}{query}"));
    let request = request.header("content-type", "application/vnd.syncml.dm+xml");
    Answer::of(request.body(body)).await
}

#[actix_web::test]
async fn a_device_that_reports_a_dead_channel_is_to_get_its_pfn_again() {
    let broker = Broker::start().await;
    let channel = uri("d1").replace('&', "&amp;");
    let body = message("d1", &result("ChannelURI", &channel));
    let fresh = said(&broker, "", body.clone()).await;
    assert_eq!(fresh.body["next"], "query", "{}", fresh.body);
    broker.mark_dead("d1").await;

    for query in ["", "?check_in=true"] {
        let answer = said(&broker, query, body.clone()).await;

        assert_eq!(answer.body["channel"]["state"], "dead", "{}", answer.body);
        assert_eq!(answer.body["next"], "again");
    }
    let set = "<Status><CmdID>2</CmdID><MsgRef>1</MsgRef><CmdRef>2</CmdRef><Cmd>Replace</Cmd><Data>200</Data></Status>";
    let body = message("d1", &(set.to_owned() + &result("ChannelURI", &channel)));
    let answer = said(&broker, "?sent=again", body).await;
    assert_eq!(answer.body["channel"]["state"], "dead");
    assert_eq!(answer.body["next"], "query", "the PFN has just been set");
}

#[actix_web::test]
async fn the_channel_in_a_message_is_registered_and_the_rest_explained() {
    let broker = Broker::start().await;
    let channel = uri("d1").replace('&', "&amp;");
    let body = message(
        "d1",
        &(result("ChannelURI", &channel) + &result("Status", "0")),
    );

    let answer = said(&broker, "", body.clone()).await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["channel"]["state"], "registered");
    assert_eq!(answer.body["provider_id"], "MS DM Server");
    assert_eq!(answer.body["push_status"]["code"], 0);
    assert_eq!(
        (&answer.body["next"], &answer.body["closed"]),
        (&json!("query"), &Value::Null)
    );
    let device = broker.get("/v1/tenants/contoso/devices/d1").await.body;
    assert_eq!(device["channel"]["state"], "live");
    assert_eq!(
        said(&broker, "", body).await.body["channel"]["state"],
        "unchanged"
    );
    assert!(
        !answer.body.to_string().contains("token="),
        "the URI is not repeated"
    );
}

#[actix_web::test]
async fn a_message_may_count_as_the_check_in() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let push = json!({"devices": ["d1"], "goal": "check_in"});
    broker.post("/v1/tenants/contoso/pushes", &push).await;

    let answer = said(&broker, "?check_in=true", message("d1", "")).await;

    assert_eq!(
        (&answer.body["check_in"], &answer.body["closed"]),
        (&json!("noted"), &json!(1))
    );
    assert_eq!(answer.body["channel"]["state"], "not_reported");
    let unasked = said(&broker, "", message("d1", "")).await;
    assert_eq!(unasked.body["check_in"], Value::Null);
}

#[actix_web::test]
async fn a_check_in_of_an_unknown_device_says_that_it_does_not_count() {
    let broker = Broker::start().await;

    let stranger = said(&broker, "?check_in=true", message("d1", "")).await;

    assert_eq!(stranger.status, 200, "what to do next is told all the same");
    assert_eq!(
        (&stranger.body["check_in"], &stranger.body["closed"]),
        (&json!("unknown_device"), &Value::Null)
    );
    let path = "/v1/tenants/contoso/devices/d1";
    assert_eq!(broker.get(path).await.status, 404);

    let channel = uri("d1").replace('&', "&amp;");
    let body = message("d1", &result("ChannelURI", &channel));
    let known = said(&broker, "?check_in=true", body).await;
    assert_eq!(known.body["check_in"], "noted");
    assert_eq!(broker.get(path).await.status, 200);
}

#[actix_web::test]
async fn trouble_is_told_with_its_cure_and_the_commands_for_it() {
    let broker = Broker::start().await;
    let status = "<Status><CmdID>2</CmdID><MsgRef>1</MsgRef><CmdRef>2</CmdRef><Cmd>Replace</Cmd><Data>500</Data></Status>";
    let query = "?device=d9&provider_id=MS%20DM%20Server&sent=again";

    let answer = said(&broker, query, message("ignored name!", status)).await;

    assert_eq!(answer.body["device"], "d9");
    assert_eq!(answer.body["answers"][0]["code"], 500);
    assert_eq!(answer.body["next"], "recovery");
    let xml = answer.body["commands"]["xml"].as_str().unwrap();
    assert!(
        xml.starts_with("<Delete>") && xml.contains("MS%20DM%20Server"),
        "{xml}"
    );
}

#[actix_web::test]
async fn what_is_no_syncml_is_refused() {
    let broker = Broker::start().await;
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><SyncML>&a;</SyncML>";
    assert_eq!(
        said(&broker, "?device=d1", bomb.to_owned()).await.status,
        400
    );
    assert_eq!(
        said(&broker, "?device=d1", "{}".to_owned()).await.status,
        400
    );
    let long = said(&broker, "?device=d1", "x".repeat(10 * 1024 * 1024)).await;
    let detail = long.body["detail"].as_str().unwrap();
    assert_eq!(
        (long.status, detail.contains("ndjson")),
        (413, false),
        "{detail}"
    );
    assert!(detail.contains("longer than 2 MiB"), "{detail}");
    assert_eq!(said(&broker, "", message("no id!", "")).await.status, 400);
    let json = broker.post(PATH, &json!({})).await;
    assert_eq!(json.status, 415);
}

#[actix_web::test]
async fn of_several_providers_the_console_says_which_one_counts() {
    let broker = Broker::start().await;
    let channel = uri("d1").replace('&', "&amp;");
    let other = result("ChannelURI", "").replace("MS%20DM%20Server", "Other");
    let body = message("d1", &(other + &result("ChannelURI", &channel)));

    let unclear = said(&broker, "", body.clone()).await;
    assert_eq!(unclear.problem(), "malformed");
    assert_eq!(unclear.body["errors"][0]["parameter"], "provider_id");

    let clear = said(&broker, "?provider_id=MS%20DM%20Server", body.clone()).await;
    assert_eq!(
        clear.body["channel"]["state"], "registered",
        "{}",
        clear.body
    );
    let other = said(&broker, "?provider_id=Other", body).await;
    assert_eq!(other.body["channel"]["state"], "empty");
}

#[actix_web::test]
async fn commands_are_given_for_the_first_time_and_afterwards() {
    let broker = Broker::start().await;
    let path = format!("{PATH}/commands?provider_id=MS%20DM%20Server");

    let first = broker
        .get(&format!("{path}&first_time=true&first_cmd_id=7"))
        .await
        .body;
    let verbs: Vec<&str> = first["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["verb"].as_str().unwrap())
        .collect();
    assert_eq!(
        (&first["step"], verbs),
        (&json!("first_time"), vec!["Add", "Add", "Get", "Get"])
    );
    assert_eq!(first["commands"][0]["cmd_id"], 7);
    let again = Answer::of(
        broker
            .request(Method::GET, &path)
            .header("accept", "application/xml"),
    )
    .await;
    assert_eq!(
        again.header("content-type"),
        "application/xml; charset=utf-8"
    );
    assert_eq!(broker.get(&format!("{PATH}/commands")).await.status, 400);
    let no_pfn = broker
        .get("/v1/tenants/fabrikam/syncml/commands?provider_id=P")
        .await;
    assert_eq!(no_pfn.status, 409);
    let query = broker
        .get("/v1/tenants/fabrikam/syncml/commands?provider_id=P&step=query")
        .await;
    assert_eq!(query.status, 200);
}
