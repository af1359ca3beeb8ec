use std::{collections::BTreeSet, fs, path::Path};

use actix_web::{
    App,
    http::{StatusCode, header},
    test::{TestRequest, call_service, init_service, read_body},
};

use super::*;

async fn get(path: &str, tag: Option<&str>) -> (StatusCode, header::HeaderMap, String) {
    let app = init_service(App::new().configure(configure)).await;
    let mut request = TestRequest::get().uri(path);
    if let Some(tag) = tag {
        request = request.insert_header((IF_NONE_MATCH, tag));
    }
    let response = call_service(&app, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
    (status, headers, body)
}

#[actix_web::test]
async fn the_page_and_everything_that_it_names_is_served_under_a_strict_policy() {
    let (status, headers, page) = get("/", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(*headers.get(header::CONTENT_TYPE).unwrap(), HTML);
    let named = page
        .split(['"', '\''])
        .filter(|word| word.starts_with("console/"));
    let named: Vec<String> = named.map(|word| format!("/{word}")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for path in named {
        let (status, headers, _) = get(&path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(
            *headers.get(header::CONTENT_SECURITY_POLICY).unwrap(),
            POLICY,
            "{path}"
        );
        assert_eq!(
            *headers.get(header::X_CONTENT_TYPE_OPTIONS).unwrap(),
            "nosniff",
            "{path}"
        );
    }
}

#[actix_web::test]
async fn every_import_of_a_script_is_served() {
    for (name, _, text) in PARTS {
        for import in text
            .split(" from \"./")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            let (status, _, _) = get(&format!("/console/{import}"), None).await;
            assert_eq!(status, StatusCode::OK, "{name} imports {import}");
        }
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere_and_no_markup_is_made_of_text() {
    let own = PARTS
        .iter()
        .filter(|(name, _, _)| !name.starts_with("uPlot"));
    for (name, text) in own
        .map(|(name, _, text)| (*name, *text))
        .chain([("index.html", PAGE)])
    {
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for forbidden in [
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            " onclick=\"",
            "style=\"",
        ] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}");
        }
    }
}

#[actix_web::test]
async fn a_browser_that_has_the_file_is_not_sent_it_again() {
    let (_, headers, body) = get("/console/main.js", None).await;
    let tag = headers
        .get(header::ETAG)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!body.is_empty());
    let (status, _, body) = get("/console/main.js", Some(&tag)).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let (status, _, _) = get("/console/main.js", Some("\"other\"")).await;
    assert_eq!(status, StatusCode::OK);
}

#[actix_web::test]
async fn a_runbook_is_found_by_the_name_of_its_alert_and_by_its_file() {
    for path in ["/runbooks/ReveilleDown", "/runbooks/ReveilleDown.md"] {
        let (status, headers, body) = get(path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(*headers.get(header::CONTENT_TYPE).unwrap(), TEXT);
        assert!(body.starts_with("# ReveilleDown\n"), "{body}");
    }
    let (_, _, list) = get("/runbooks/", None).await;
    assert!(list.contains("<a href=\"ReveilleDown\">"), "{list}");
}

#[actix_web::test]
async fn what_is_not_there_is_not_found() {
    for path in [
        "/console/nothing.js",
        "/console/index.html",
        "/runbooks/Nothing",
        "/console/..%2Findex.html",
    ] {
        assert_eq!(get(path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn every_file_of_the_page_and_every_runbook_is_carried() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(here.join(folder)).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.path().is_file());
        files
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    };
    let carried: BTreeSet<String> = RUNBOOKS
        .iter()
        .map(|(name, _)| format!("{name}.md"))
        .collect();
    assert_eq!(carried, names("deploy/runbooks"));
    let own = PARTS
        .iter()
        .map(|(name, _, _)| (*name).to_owned())
        .filter(|name| !name.starts_with("uPlot"));
    let mut carried: BTreeSet<String> = own.collect();
    carried.insert("index.html".to_owned());
    assert_eq!(carried, names("src/console/static"));
}
