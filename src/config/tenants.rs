//! The consoles' name spaces.

use std::collections::{HashMap, HashSet};

use crate::domain::id::{AppId, TenantId};

use super::{
    apps::App,
    kind::{parsed, whole},
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Share of a tenant that names none.
const SHARE_DEFAULT: u32 = 1;

settings! {
    /// The consoles' name spaces. An app without any has one of the same id. Tenants can also be made while the broker runs,
    /// through the API.
    pub(super) struct TenantKeys at "tenants[]" {
        /// Name of the tenant, as it stands in API paths.
        id: TenantId = parsed("a tenant id", TenantId::new).required();
        /// The app through which the tenant's devices are woken.
        app: AppId = parsed("an app id", AppId::new).required();
        /// Weight beside the other tenants of the app when the pace does not serve all.
        share: u32 = whole(1, 1000).default("1");
    }
}

/// A console's name space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// The app through which its devices are woken.
    pub app: AppId,
    /// Its weight beside the other tenants of the app, 1 to 1000.
    pub share: u32,
}

/// Reads all `[[tenants]]` and adds one for each of `apps` that has none.
pub(super) fn read(root: &Place<'_>, apps: &[App], problems: &mut Problems) -> Vec<Tenant> {
    let mut tenants: Vec<Tenant> = Vec::new();
    let mut seen = HashSet::new();
    for place in root.list("tenants", problems) {
        let Some(keys) = TenantKeys::read(&place, problems) else {
            continue;
        };
        if !apps.iter().any(|app| app.id == keys.app) {
            let known: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
            let detail = format!(
                "no app {} is there; there are: {}",
                keys.app,
                known.join(", ")
            );
            place.blame("app", detail, problems);
        }
        if !seen.insert(keys.id.clone()) {
            let detail = format!("a tenant {} is already there; each id comes once", keys.id);
            place.blame("id", detail, problems);
        }
        tenants.push(Tenant {
            id: keys.id,
            app: keys.app,
            share: keys.share,
        });
    }
    add_tenants_of_the_same_id(&mut tenants, root, apps, problems);
    tenants
}

fn add_tenants_of_the_same_id(
    tenants: &mut Vec<Tenant>,
    root: &Place<'_>,
    apps: &[App],
    problems: &mut Problems,
) {
    let used: HashSet<AppId> = tenants.iter().map(|tenant| tenant.app.clone()).collect();
    let taken: HashMap<TenantId, AppId> = tenants
        .iter()
        .map(|tenant| (tenant.id.clone(), tenant.app.clone()))
        .collect();
    for app in apps.iter().filter(|app| !used.contains(&app.id)) {
        let id = TenantId::new(app.id.as_str()).expect("app and tenant ids have one alphabet");
        if let Some(other) = taken.get(&id) {
            let detail = format!(
                "app {id} has no tenant, and the tenant {id} belongs to app {other}; add a \
                 [[tenants]] entry for app {id}"
            );
            root.blame("tenants", detail, problems);
        }
        tenants.push(Tenant {
            id,
            app: app.id.clone(),
            share: SHARE_DEFAULT,
        });
    }
}
