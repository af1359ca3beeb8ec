//! What is sent to a server: commands, and the Lua scripts, which go by their hash, or whole where a server does not know them.

use std::sync::LazyLock;

use redis::Cmd;

/// A script and its hash.
pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

/// One call of a script.
pub(super) struct ScriptCall {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<Vec<u8>>,
}

impl ScriptCall {
    pub(super) fn new(script: &'static Script) -> Self {
        Self {
            script,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }

    pub(super) fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    pub(super) fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn number(self, number: impl Into<i64>) -> Self {
        self.arg(number.into().to_string())
    }

    /// Whether it may change something.
    pub(super) fn writes(&self) -> bool {
        let flags = self.script.text.lines().next().unwrap_or_default();
        !flags.contains("no-writes")
    }

    /// The command; with `whole` it carries the text, which also loads it.
    pub(super) fn command(&self, whole: bool) -> Cmd {
        let mut command = match whole {
            true => redis::cmd("EVAL"),
            false => redis::cmd("EVALSHA"),
        };
        match whole {
            true => command.arg(self.script.text),
            false => command.arg(self.script.hash.as_str()),
        };
        command
            .arg(self.keys.len())
            .arg(&self.keys)
            .arg(&self.arguments);
        command
    }
}

/// What is to be done at a place.
pub(super) enum Errand {
    /// A plain command.
    Command(Cmd),
    /// A script.
    Script(ScriptCall),
}

impl Errand {
    pub(super) fn command(&self, whole: bool) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script(call) => call.command(whole),
        }
    }
}

impl From<Cmd> for Errand {
    fn from(command: Cmd) -> Self {
        Self::Command(command)
    }
}

impl From<ScriptCall> for Errand {
    fn from(call: ScriptCall) -> Self {
        Self::Script(call)
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$flags:literal $(, $part:literal)+];)+) => {
        $($(#[$doc])*
        pub(super) static $name: Script = {
            const TEXT: &str = concat!("#!lua", $flags, "\n" $(, include_str!(concat!("scripts/", $part)))+);
            Script { text: TEXT, hash: LazyLock::new(|| redis::Script::new(TEXT).get_hash().to_owned()) }
        };)+
    };
}

// Those that write do not count their keys, since on a cluster they have one more: see `Client::guarded`.
// `allow-oom` marks what must go on when Redis has reached maxmemory: all that settles, closes or gives back.
scripts! {
    /// Commits new work.
    COMMIT_OPEN = ["", "queue.lua", "events.lua", "commit.lua"];
    /// Commits outcomes.
    COMMIT_SETTLE = [" flags=allow-oom", "queue.lua", "events.lua", "commit.lua"];
    /// Commits new work that is as expected.
    WHOLE_OPEN = ["", "queue.lua", "events.lua", "whole.lua"];
    /// Commits outcomes of what is as expected.
    WHOLE_SETTLE = [" flags=allow-oom", "queue.lua", "events.lua", "whole.lua"];
    READ = [" flags=no-writes", "read.lua"];
    CLAIM = [" flags=allow-oom", "queue.lua", "claim.lua"];
    LOWER = [" flags=allow-oom", "queue.lua", "lower.lua"];
    HAND_BACK = [" flags=allow-oom", "queue.lua", "hand_back.lua"];
    PARK = [" flags=allow-oom", "queue.lua", "park.lua"];
    SWEEP = [" flags=no-writes", "sweep.lua"];
    /// Reads what no call can declare: keys of several slots of a cluster's server. See `many`.
    MANY = [" flags=no-writes,allow-cross-slot-keys", "many.lua"];
    BROWSE = [" flags=no-writes", "browse.lua"];
    CONFIRM = [" flags=allow-oom", "confirm.lua"];
    RAISE_FENCE = [" flags=allow-oom", "raise_fence.lua"];
    LIST_PAGE = [" flags=no-writes", "list_page.lua"];
    LIST_FIND = [" flags=no-writes", "list_find.lua"];
    DROP_COUNTERS = [" flags=allow-oom", "drop_counters.lua"];
    FEED_APPEND = [" flags=allow-oom", "events.lua", "feed_append.lua"];
    FEED_READ = [" flags=no-writes", "feed_read.lua"];
    FEED_TRIM = [" flags=allow-oom", "feed_trim.lua"];
    /// Puts a new document.
    DOCUMENT_PUT = ["", "document_put.lua"];
    /// Puts another text in the place of one that is there.
    DOCUMENT_CHANGE = [" flags=allow-oom", "document_put.lua"];
    DOCUMENT_EPOCH = [" flags=allow-oom", "document_epoch.lua"];
    DOCUMENT_DELETE = [" flags=allow-oom", "document_delete.lua"];
    LEASE_HOLD = [" flags=allow-oom", "lease_hold.lua"];
    LEASE_RELEASE = [" flags=allow-oom", "lease_release.lua"];
    SHARE = [" flags=allow-oom", "share.lua"];
    INBOX_RECEIVE = [" flags=allow-oom", "inbox.lua", "inbox_receive.lua"];
    INBOX_TAKE_OVER = [" flags=allow-oom", "inbox.lua", "inbox_take_over.lua"];
    INBOX_SETTLE = [" flags=allow-oom", "inbox_settle.lua"];
    OUTBOX_PUBLISH = ["", "outbox_publish.lua"];
    /// What is described already has to be opened when memory is full, too: settling goes on then.
    STORE_OPEN = [" flags=allow-oom", "store_open.lua"];
}
