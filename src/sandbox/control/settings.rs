//! What can be changed while the sandbox runs: behaviour, token endpoints, scripts for everybody, secrets, penalties.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Answer, Call, Problem, json_of};
use crate::sandbox::{
    script::{Entry, Lasts, STEPS_MAX},
    step::Step,
    units::Period,
    world::Live,
};

/// `GET apps`
pub(super) fn apps(call: &Call<'_>) -> Answer {
    let world = &call.thread.world;
    let base = world.base_url();
    let apps: Vec<Value> = world
        .apps
        .iter()
        .map(|app| {
            json!({
                "app": app.id,
                "pfn": app.identity.pfn,
                "package_sid": app.identity.package_sid,
                "secrets": **app.secrets.load(),
                "token_url": format!("{base}/accesstoken.srf"),
                "entra": {
                    "tenant_id": app.identity.entra_tenant,
                    "client_id": app.identity.entra_client,
                    "token_url": format!("{base}/{}/oauth2/v2.0/token", app.identity.entra_tenant),
                },
                "devices": app.devices.len(),
            })
        })
        .collect();
    json_of(&apps)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    secrets: Vec<String>,
}

/// `PUT apps/{app}/secrets`
pub(super) fn set_secrets(call: &Call<'_>, app: &str) -> Answer {
    let app = call.app_named(Some(app))?;
    let Secrets { secrets } = call.json()?;
    let count = secrets.len();
    call.thread.world.app(app).secrets.store(Arc::new(secrets));
    json_of(&json!({"secrets": count}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Penalty {
    #[serde(rename = "for")]
    lasts: Period,
}

/// `PUT apps/{app}/penalty`
pub(super) fn punish(call: &Call<'_>, app: &str) -> Answer {
    let app = call.app_named(Some(app))?;
    let penalty: Penalty = call.json()?;
    let world = &call.thread.world;
    let now = world.clock.now();
    let until = world.app(app).punish(now, now.after(penalty.lasts.0));
    json_of(&json!({"throttled_until": world.clock.wall(until)}))
}

/// `DELETE apps/{app}/penalty`
pub(super) fn forgive(call: &Call<'_>, app: &str) -> Answer {
    let app = call.app_named(Some(app))?;
    call.thread.world.app(app).forgive();
    json_of(&json!({"throttled_until": null}))
}

/// `GET behaviour`
pub(super) fn behaviour(call: &Call<'_>) -> Answer {
    json_of(&call.thread.world.live.load().behaviour)
}

/// `PATCH behaviour`
pub(super) fn change_behaviour(call: &Call<'_>) -> Answer {
    let world = &call.thread.world;
    let behaviour = patched(&world.live.load().behaviour, call)?;
    behaviour_proven(&behaviour)?;
    world.live.store(Arc::new(Live::new(behaviour)));
    self::behaviour(call)
}

fn behaviour_proven(behaviour: &crate::sandbox::behaviour::Behaviour) -> Result<(), Problem> {
    behaviour
        .prove()
        .map_err(|error| Problem::bad(error.to_string()))
}

/// `GET token-endpoint`
pub(super) fn token_endpoint(call: &Call<'_>) -> Answer {
    json_of(&**call.thread.world.token_settings.load())
}

/// `PATCH token-endpoint`
pub(super) fn change_token_endpoint(call: &Call<'_>) -> Answer {
    let world = &call.thread.world;
    let settings = patched(&**world.token_settings.load(), call)?;
    world.token_settings.store(Arc::new(settings));
    token_endpoint(call)
}

/// The value with the keys of the body put in the place of its own.
fn patched<T: Serialize + DeserializeOwned>(value: &T, call: &Call<'_>) -> Result<T, Problem> {
    let refused =
        |error: serde_json::Error| Problem::bad(format!("the body is not understood: {error}"));
    let mut whole = serde_json::to_value(value).map_err(refused)?;
    let patch: serde_json::Map<String, Value> = call.json()?;
    for (key, part) in patch {
        whole[key] = part;
    }
    serde_json::from_value(whole).map_err(refused)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    app: Option<String>,
}

/// `POST tokens/revoke`
pub(super) fn revoke_tokens(call: &Call<'_>) -> Answer {
    let Revocation { app } = call.json()?;
    let app = match app {
        Some(id) => Some(call.app_named(Some(&id))?),
        None => None,
    };
    let world = &call.thread.world;
    let revoked = world.tokens.revoke(app, world.clock.now());
    json_of(&json!({"revoked": revoked}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptEntry {
    reply: Step,
    requests: Option<u64>,
    #[serde(rename = "for")]
    lasts: Option<Period>,
    app: Option<String>,
}

/// `GET script`
pub(super) fn script(call: &Call<'_>) -> Answer {
    json_of(&json!({"entries": call.thread.world.script.len()}))
}

/// `POST script`
pub(super) fn add_to_script(call: &Call<'_>) -> Answer {
    let world = &call.thread.world;
    let entry: ScriptEntry = call.json()?;
    let lasts = match (entry.requests, entry.lasts) {
        (Some(requests), None) => Lasts::Requests(requests),
        (None, Some(lasts)) => Lasts::Until(world.clock.now().after(lasts.0)),
        (None, None) => Lasts::Requests(u64::from(entry.reply.times())),
        (Some(_), Some(_)) => {
            return Err(Problem::bad(
                "give either requests or for, not both".to_owned(),
            ));
        }
    };
    if world.script.len() >= STEPS_MAX {
        return Err(Problem {
            status: StatusCode::CONFLICT,
            detail: format!("the script has {STEPS_MAX} entries already"),
        });
    }
    let app = match entry.app {
        Some(id) => Some(call.app_named(Some(&id))?),
        None => None,
    };
    world.script.add(Entry {
        step: entry.reply,
        lasts,
        app,
    });
    script(call)
}

/// `DELETE script`
pub(super) fn clear_script(call: &Call<'_>) -> Answer {
    call.thread.world.script.clear();
    script(call)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    #[serde(default)]
    abrupt: bool,
}

/// `POST connections/close`
pub(super) fn close_connections(call: &Call<'_>) -> Answer {
    let Closing { abrupt } = call.json()?;
    let closed = call.thread.connections.close_all(abrupt);
    json_of(&json!({"closed": closed}))
}
