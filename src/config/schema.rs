//! One declaration per key, from which reading, environment twins, the check for unknown keys and the reference page follow.

use super::{
    kind::{Need, Setting, Style},
    reader::{Place, Problems},
};

/// What all environment twins begin with.
pub(super) const ENV_PREFIX: &str = "REVEILLE_";

/// A table of the configuration, as documented.
pub(super) struct Outline {
    /// Path of the table; `[]` stands for the position in a list of tables.
    pub(super) path: &'static str,
    pub(super) about: &'static [&'static str],
    pub(super) keys: Vec<KeyOutline>,
}

/// A key, as documented.
pub(super) struct KeyOutline {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) kind: String,
    pub(super) style: Style,
    pub(super) need: Need,
}

impl KeyOutline {
    pub(super) fn of<T>(
        name: &'static str,
        doc: &'static [&'static str],
        setting: &Setting<T>,
    ) -> Self {
        Self {
            name,
            doc,
            kind: setting.about.clone(),
            style: setting.style,
            need: setting.need,
        }
    }
}

/// A table whose keys are declared by [`settings!`].
pub(super) trait Section: Sized {
    fn outline() -> Outline;
    /// Reads every key, noting all problems; `None` if there was one.
    fn read(place: &Place<'_>, problems: &mut Problems) -> Option<Self>;
}

/// Declares a table: the struct, its documentation, and how each key is read. The doc comments are the reference page.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident at $path:literal {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $setting:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ $vis $field: $type, )+
        }

        impl $crate::config::schema::Section for $name {
            fn outline() -> $crate::config::schema::Outline {
                $crate::config::schema::Outline {
                    path: $path,
                    about: &[$($about),+],
                    keys: vec![$({
                        // A function of its own, so that neither a key's name nor its type gets in the way.
                        fn setting() -> $crate::config::kind::Setting<$type> { $setting }
                        $crate::config::schema::KeyOutline::of(stringify!($field), &[$($doc),+], &setting())
                    }),+],
                }
            }

            fn read(
                place: &$crate::config::reader::Place<'_>,
                problems: &mut $crate::config::reader::Problems,
            ) -> Option<Self> {
                $( let $field: Option<$type> = {
                    fn setting() -> $crate::config::kind::Setting<$type> { $setting }
                    place.get(stringify!($field), &setting(), problems)
                }; )+
                Some(Self { $( $field: $field?, )+ })
            }
        }
    };
}
pub(super) use settings;

/// Every table, in the order of the reference page.
pub(super) fn outlines() -> Vec<Outline> {
    vec![
        super::server::Server::outline(),
        super::store::StoreKeys::outline(),
        super::wns::WnsKeys::outline(),
        super::apps::AppKeys::outline(),
        super::apps::EntraKeys::outline(),
        super::pace::AppPaceKeys::outline(),
        super::tenants::TenantKeys::outline(),
        super::keys::ApiKeyKeys::outline(),
        super::pace::Pace::outline(),
        super::limits::Limits::outline(),
        super::retry::Retry::outline(),
        super::checkin::Checkin::outline(),
        super::webhooks::Webhooks::outline(),
        super::streams::Streams::outline(),
        super::log::Log::outline(),
        super::traces::Traces::outline(),
    ]
}

/// Paths of all keys, with `[]` for positions: `apps[].pace.ceiling_per_second`.
#[must_use]
pub fn key_paths() -> Vec<String> {
    let of_table = |table: Outline| {
        table
            .keys
            .into_iter()
            .map(move |key| format!("{}.{}", table.path, key.name))
    };
    outlines().into_iter().flat_map(of_table).collect()
}

/// The environment twin of a path, with `0` for positions: `REVEILLE_APPS_0_PACE_CEILING_PER_SECOND`.
pub(super) fn env_twin(path: &str) -> String {
    let name = path.replace("[]", ".0").replace('.', "_");
    format!("{ENV_PREFIX}{}", name.to_ascii_uppercase())
}
