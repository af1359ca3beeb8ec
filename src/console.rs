//! The console page and the runbooks: files that are part of the program, so that a broker shows them without anything beside it.
//!
//! The page is a caller of the message API like any other. It loads nothing from elsewhere and its policy forbids it to; text
//! that it shows is never taken for markup. There is no build step: the files are served as they stand in `src/console`.

mod files;

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    web::{self, Path, ServiceConfig},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use self::files::{PAGE, PARTS, RUNBOOKS};

/// What the page may load, and from where: its own scripts, styles and pictures, and the API that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
/// Browsers show plain text; Markdown they would store.
const TEXT: &str = "text/plain; charset=utf-8";

/// A file as it is served.
struct Served {
    kind: &'static str,
    body: &'static [u8],
    /// Names the content, so that a browser need not load what it has.
    tag: String,
}

static SERVED: LazyLock<BTreeMap<&'static str, Served>> = LazyLock::new(|| {
    let page = ("", HTML, PAGE);
    let served = |(name, kind, body): (_, _, &'static str)| {
        let digest = Sha256::digest(body.as_bytes());
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12]));
        let body = body.as_bytes();
        (name, Served { kind, body, tag })
    };
    std::iter::once(page)
        .chain(PARTS.iter().copied())
        .map(served)
        .collect()
});

/// Puts the page at `/`, its parts under `/console/` and the runbooks under `/runbooks/` into an application.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(web::resource("/").get(page).head(page))
        .service(web::resource("/console/{name}").get(part).head(part))
        .service(web::resource("/runbooks/").get(runbooks).head(runbooks))
        .service(web::resource("/runbooks/{name}").get(runbook).head(runbook));
}

async fn page(request: HttpRequest) -> HttpResponse {
    serve(&request, "")
}

async fn part(request: HttpRequest, name: Path<String>) -> HttpResponse {
    serve(&request, &name)
}

fn serve(request: &HttpRequest, name: &str) -> HttpResponse {
    let Some(file) = SERVED.get(name) else {
        return missing();
    };
    let known = request.headers().get_all(IF_NONE_MATCH);
    let mut known = known.filter_map(|value| value.to_str().ok());
    let unchanged = known.any(|tags| tags.contains(&file.tag));
    let mut response = if unchanged {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .content_type(file.kind)
        .insert_header((ETAG, file.tag.as_str()));
    match unchanged {
        true => guard(&mut response).finish(),
        false => guard(&mut response).body(file.body),
    }
}

/// The list of runbooks.
async fn runbooks() -> HttpResponse {
    let mut list = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Runbooks</title></head>\
         <body><h1>Runbooks</h1><p>One for each alert.</p><ul>\n",
    );
    for (name, _) in RUNBOOKS {
        writeln!(list, "<li><a href=\"{name}\">{name}</a></li>")
            .expect("text takes all that is written to it");
    }
    list.push_str("</ul></body></html>\n");
    guard(HttpResponse::Ok().content_type(HTML)).body(list)
}

/// One runbook, by the name of its alert, with or without `.md`.
async fn runbook(name: Path<String>) -> HttpResponse {
    let wanted = name.strip_suffix(".md").unwrap_or(&name);
    let Some((_, text)) = RUNBOOKS.iter().find(|(name, _)| *name == wanted) else {
        return missing();
    };
    guard(HttpResponse::Ok().content_type(TEXT)).body(*text)
}

fn missing() -> HttpResponse {
    guard(HttpResponse::NotFound().content_type(TEXT)).body("there is no such page\n")
}

/// What every answer carries.
fn guard(response: &mut actix_web::HttpResponseBuilder) -> &mut actix_web::HttpResponseBuilder {
    response
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-cache"))
}

#[cfg(test)]
mod tests;
