//! One request: who calls, what the path and the query name, and whether the key allows it.

use std::{cell::Cell, future::Ready, str::FromStr, sync::Arc};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, dev::Payload, http::header, web,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    json::{cut_to, of_the_whole},
    problem::{Kind, Problem},
    state::State,
};
use crate::{
    domain::{
        api_key::{Principal, Scope},
        id::{AppId, DeviceId, IdError, TenantId},
        trace_context::TraceContext,
    },
    service::tenants::Tenant,
    telemetry::RequestSpan,
};

/// Longest name or explanation of a query that is told, in bytes.
const DETAIL_BYTES_MAX: usize = 200;
/// Devices of one call whose attempts belong to its trace; the others of a longer body are not traced.
const TRACED_DEVICES_MAX: usize = 100;

/// Who calls.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// The broker has no keys: whoever reaches it may do everything.
    Anybody,
    /// The holder of a key.
    Holder(Arc<Principal>),
}

impl Caller {
    /// Recognises the bearer key of a request.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`]; it does not say why.
    pub(super) fn recognise(request: &HttpRequest, state: &State) -> Result<Self, Problem> {
        if state.keys.is_empty() {
            return Ok(Self::Anybody);
        }
        let refuse = |detail: &str| {
            Problem::new(Kind::Unauthorized, detail)
                .header(header::WWW_AUTHENTICATE, "Bearer realm=\"reveille\"")
        };
        let value = request.headers().get(header::AUTHORIZATION);
        let value = value.ok_or_else(|| refuse("send the key as Authorization: Bearer"))?;
        let presented = value.to_str().ok().and_then(|v| {
            let (scheme, key) = v.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let presented = presented.ok_or_else(|| refuse("send the key as Authorization: Bearer"))?;
        let now = state.desk.clock.now();
        let principal = state.keys.authenticate(presented, now);
        let principal = principal.map_err(|refusal| {
            let peer = request.peer_addr().map(|peer| peer.ip().to_string());
            let peer = peer.unwrap_or_default();
            let telemetry = &state.desk.telemetry;
            telemetry.key_refused(&peer, &refusal, Instant::now());
            refuse("the key is not taken")
        })?;
        let shared = state.principals.get(&principal.key);
        shared
            .map(|p| Self::Holder(Arc::clone(p)))
            .ok_or_else(|| refuse("the key is not taken"))
    }

    /// The key's id, or a dash.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Anybody => "-",
            Self::Holder(principal) => principal.key.as_str(),
        }
    }

    /// Whether the caller may see everything of every tenant.
    pub(super) fn sees_all(&self) -> bool {
        match self {
            Self::Anybody => true,
            Self::Holder(principal) => {
                principal.may(Scope::Read) && principal.reach == crate::domain::api_key::Reach::All
            }
        }
    }

    fn may(&self, scope: Scope) -> Result<(), Problem> {
        match self {
            Self::Anybody => Ok(()),
            Self::Holder(principal) if principal.may(scope) => Ok(()),
            Self::Holder(_) => Err(Problem::new(
                Kind::Forbidden,
                format!("the key lacks the scope {scope}"),
            )),
        }
    }

    /// Whether the caller reaches a tenant that uses `app`.
    pub(super) fn reaches(&self, tenant: &TenantId, app: &AppId) -> bool {
        match self {
            Self::Anybody => true,
            Self::Holder(principal) => principal.reaches(tenant, app),
        }
    }

    /// Whether the caller reaches an app as a whole.
    pub(super) fn reaches_app(&self, app: &AppId) -> bool {
        match self {
            Self::Anybody => true,
            Self::Holder(principal) => principal.reaches_app(app),
        }
    }
}

/// Gives the devices of a call its trace, but not more than a person can look at.
#[derive(Debug)]
pub(super) struct CallTrace {
    context: Option<TraceContext>,
    left: Cell<usize>,
}

impl CallTrace {
    /// The trace for one more device.
    pub(super) fn take(&self) -> Option<TraceContext> {
        let context = self.context?;
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        Some(context)
    }
}

/// One request.
pub(super) struct Call {
    pub(super) state: web::Data<State>,
    pub(super) request: HttpRequest,
    pub(super) caller: Caller,
}

impl FromRequest for Call {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Self::new(request))
    }
}

impl Call {
    fn new(request: &HttpRequest) -> Result<Self, Problem> {
        let state = request.app_data::<web::Data<State>>().cloned();
        let state = state.ok_or_else(|| Problem::new(Kind::Internal, "the API has no state"))?;
        let known = request.extensions().get::<Caller>().cloned();
        let caller = match known {
            Some(caller) => caller,
            None => Caller::recognise(request, &state)?,
        };
        Ok(Self {
            state,
            request: request.clone(),
            caller,
        })
    }

    /// The tenant that the path names, if the caller may do there what `scope` covers.
    ///
    /// # Errors
    /// [`Kind::Forbidden`], [`Kind::UnknownTenant`], or what the store says. A key is not told whether a tenant exists that
    /// it does not reach.
    pub(super) async fn tenant(&self, scope: Scope) -> Result<Tenant, Problem> {
        self.caller.may(scope)?;
        let id: TenantId = self.named("tenant")?;
        let found = self.state.tenants.find(&id).await?;
        let forbidden = || {
            let detail = format!("the key does not reach tenant {id}");
            Problem::new(Kind::Forbidden, detail)
        };
        match found {
            Some(tenant) if self.caller.reaches(&id, &tenant.app) => Ok(tenant),
            Some(_) => Err(forbidden()),
            None if self.may_know(&id) => Err(Problem::new(
                Kind::UnknownTenant,
                format!("there is no tenant {id}"),
            )),
            None => Err(forbidden()),
        }
    }

    /// Whether the caller would reach a tenant of this name, whatever its app.
    fn may_know(&self, id: &TenantId) -> bool {
        match &self.caller {
            Caller::Anybody => true,
            Caller::Holder(principal) => match &principal.reach {
                crate::domain::api_key::Reach::All => true,
                crate::domain::api_key::Reach::Only { tenants, .. } => tenants.contains(id),
            },
        }
    }

    /// The trace of this call for its devices, if it is recorded.
    pub(super) fn trace(&self) -> CallTrace {
        let extensions = self.request.extensions();
        let span = extensions.get::<RequestSpan>();
        CallTrace {
            context: span.map(RequestSpan::context),
            left: Cell::new(TRACED_DEVICES_MAX),
        }
    }

    /// Whether the caller may do what `scope` covers somewhere.
    ///
    /// # Errors
    /// [`Kind::Forbidden`].
    pub(super) fn may(&self, scope: Scope) -> Result<(), Problem> {
        self.caller.may(scope)
    }

    /// The app that the path names, if the caller may do there what `scope` covers.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] or [`Kind::UnknownApp`].
    pub(super) fn app(&self, scope: Scope) -> Result<AppId, Problem> {
        self.caller.may(scope)?;
        let id: AppId = self.named("app")?;
        if !self.caller.reaches_app(&id) {
            let detail = format!("the key does not reach app {id}");
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        if !self.state.tenants.apps().contains(&id) {
            let detail = format!("there is no app {id}");
            return Err(Problem::new(Kind::UnknownApp, detail));
        }
        Ok(id)
    }

    /// The device that the path names.
    ///
    /// # Errors
    /// [`Kind::Malformed`].
    pub(super) fn device(&self) -> Result<DeviceId, Problem> {
        self.named("device")
    }

    /// The id that a part of the path is.
    ///
    /// # Errors
    /// [`Kind::Malformed`].
    pub(super) fn named<T: FromStr<Err = IdError>>(&self, part: &str) -> Result<T, Problem> {
        let text = self.request.match_info().get(part).unwrap_or_default();
        text.parse()
            .map_err(|error: IdError| Problem::new(Kind::Malformed, error.to_string()))
    }

    /// The query, read.
    ///
    /// # Errors
    /// [`Kind::Malformed`], naming the parameter where it can.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let pairs = url::form_urlencoded::parse(self.request.query_string().as_bytes());
        let query = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(query).map_err(|error| {
            let path = error.path();
            let said = error.inner().to_string();
            let name = match path.iter().next() {
                Some(_) => path.to_string(),
                None => of_the_whole(&said).unwrap_or_default().to_owned(),
            };
            let detail = cut_to(&said, DETAIL_BYTES_MAX).to_owned();
            Problem::parameter(cut_to(&name, DETAIL_BYTES_MAX), detail)
        })
    }
}

/// An answer with a JSON body.
pub(super) fn json(status: actix_web::http::StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(body)
}

/// 200 with a JSON body.
pub(super) fn ok(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(body)
}
