//! One device: its state, its script.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Call, Problem, json_of};
use crate::sandbox::{
    channel::Target,
    device::{Device, Flag},
    ledger,
    script::STEPS_MAX,
    step::Step,
};

/// A device that a path and a query name.
struct Named<'a> {
    target: Target,
    device: &'a Device,
}

fn named<'a>(call: &'a Call<'_>, id: &str) -> Result<Named<'a>, Problem> {
    let world = &call.thread.world;
    let app = call.app()?;
    let missing = || Problem::missing(format!("the app has no device {id:?}"));
    let index = world.find_device(app, id).ok_or_else(missing)?;
    let target = Target {
        app,
        device: index,
        generation: 1,
    };
    let device = world.device(target).ok_or_else(missing)?;
    Ok(Named { target, device })
}

/// `GET devices/{device}`
pub(super) fn show(call: &Call<'_>, id: &str) -> Answer {
    let Named { target, device } = named(call, id)?;
    let world = &call.thread.world;
    let line = ledger::read_device(world, target.app, target.device)
        .ok_or_else(|| Problem::missing(format!("the app has no device {id:?}")))?;
    let mut uri = Vec::new();
    world.write_channel(
        Target {
            generation: device.generation(),
            ..target
        },
        &mut uri,
    );
    let mut answer = json!(line);
    answer["uri"] = json!(String::from_utf8_lossy(&uri));
    answer["script"] = json!(world.device_scripts.rest(target.subject()));
    json_of(&answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    online: Option<bool>,
    channel: Option<ChannelChange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ChannelChange {
    /// All channels so far answer 410.
    Gone,
    /// All channels so far answer 404.
    NotFound,
    /// A new channel, which is alive; the old ones stay as they are.
    Renewed,
}

/// `PATCH devices/{device}`
pub(super) fn change(call: &Call<'_>, id: &str) -> Answer {
    let Named { target, device } = named(call, id)?;
    let change: Change = call.json()?;
    match change.channel {
        Some(ChannelChange::Gone) => {
            device.clear(Flag::NotFound);
            device.kill();
        }
        Some(ChannelChange::NotFound) => {
            device.set(Flag::NotFound);
            device.kill();
        }
        Some(ChannelChange::Renewed) => {
            device.renew();
        }
        None => {}
    }
    match change.online {
        Some(true) => call.thread.world.come_online(target, device),
        Some(false) => {
            device.clear(Flag::Online);
            device.set(Flag::Offline);
        }
        None => {}
    }
    show(call, id)
}

/// `POST devices/reset`
pub(super) fn reset_all(call: &Call<'_>) -> Answer {
    call.thread.world.reset_devices();
    json_of(&json!({"reset": true}))
}

/// `GET devices/{device}/script`
pub(super) fn script(call: &Call<'_>, id: &str) -> Answer {
    let Named { target, .. } = named(call, id)?;
    json_of(&json!({"steps": call.thread.world.device_scripts.rest(target.subject())}))
}

/// `PUT devices/{device}/script`
pub(super) fn set_script(call: &Call<'_>, id: &str) -> Answer {
    let Named { target, device } = named(call, id)?;
    let steps = steps(call)?;
    if steps.len() > STEPS_MAX {
        return Err(Problem::bad(format!(
            "a script has at most {STEPS_MAX} steps"
        )));
    }
    let world = &call.thread.world;
    world.device_scripts.set(target.subject(), steps);
    device.set(Flag::Scripted);
    script(call, id)
}

/// `DELETE devices/{device}/script`
pub(super) fn remove_script(call: &Call<'_>, id: &str) -> Answer {
    let Named { target, device } = named(call, id)?;
    device.clear(Flag::Scripted);
    call.thread.world.device_scripts.remove(target.subject());
    script(call, id)
}

/// A list of steps alone, or as `steps` in an object; an untagged enum would hide which step is wrong and why.
fn steps(call: &Call<'_>) -> Result<Vec<Step>, Problem> {
    let texts: serde_json::Value = call.json()?;
    let list = texts.get("steps").unwrap_or(&texts).clone();
    serde_json::from_value(list)
        .map_err(|error| Problem::bad(format!("the steps are not understood: {error}")))
}
