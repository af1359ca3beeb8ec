//! The values that metric labels take, beside those that the domain already names. Each label is a closed set.

/// Declares a label: an enum whose variants have stable texts.
macro_rules! label {
    (
        $(#[$about:meta])+
        pub enum $name:ident { $( $(#[$doc:meta])+ $variant:ident = $text:literal, )+ }
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( $(#[$doc])+ $variant, )+ }

        impl $name {
            /// Every value, in the order in which they are documented.
            pub const ALL: &[Self] = &[$( Self::$variant, )+];

            /// Stable text for metrics and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }
    };
}

label! {
    /// What an attempt means for the push: the outcomes in three groups.
    pub enum ResultClass {
        /// WNS took the notification.
        Success = "success",
        /// It is tried again: nothing is wrong with channel or request.
        Transient = "transient",
        /// WNS refuses channel, sender or request.
        Refused = "refused",
    }
}

label! {
    /// Why an app sends nothing.
    pub enum PauseReason {
        /// WNS throttles the app.
        AppThrottled = "app_throttled",
        /// WNS refuses the app's fresh tokens.
        TokenRefused = "token_refused",
        /// The token endpoint refuses the credential.
        CredentialRefused = "credential_refused",
        /// A wave of channel refusals looks like a fault of the app.
        RefusalWave = "refusal_wave",
        /// WNS is out of reach and the breaker is open.
        Outage = "outage",
        /// Somebody paused the app.
        Operator = "operator",
    }
}

label! {
    /// How a request for a token ended.
    pub enum TokenResult {
        /// There is a new token.
        Granted = "granted",
        /// The credential was refused.
        Refused = "refused",
        /// No usable answer.
        Unavailable = "unavailable",
    }
}

label! {
    /// Where an open push stands.
    pub enum PushState {
        /// Its time has come, and nobody has taken it yet.
        Due = "due",
        /// Its time comes later: a retry or a minimum interval.
        Scheduled = "scheduled",
        /// A dispatcher holds it.
        Leased = "leased",
        /// WNS took it and the device has not checked in.
        Awaiting = "awaiting",
        /// The device has no usable channel.
        Blocked = "blocked",
    }
}

label! {
    /// How soon channels expire without renewal.
    pub enum Horizon {
        /// Within a day.
        Day = "1d",
        /// Within seven days.
        Week = "7d",
    }
}

label! {
    /// The state of a campaign.
    pub enum CampaignPhase {
        /// Targets are being named.
        Draft = "draft",
        /// Targets are being counted.
        Preparing = "preparing",
        /// Targets are released.
        Running = "running",
        /// Nothing is released.
        Paused = "paused",
        /// All targets have ended.
        Finished = "finished",
        /// It was given up.
        Cancelled = "cancelled",
    }
}

label! {
    /// Where a campaign's target stands.
    pub enum TargetPhase {
        /// Not yet released.
        Waiting = "waiting",
        /// Released and not yet ended, whatever it waits for.
        Open = "open",
        /// Ended.
        Closed = "closed",
    }
}

label! {
    /// A call to the store.
    pub enum StoreOperation {
        /// Records by id.
        Read = "read",
        /// Due pushes under a lease.
        Claim = "claim",
        /// A batch of changes.
        Commit = "commit",
        /// Pages of devices and lists, and counters.
        Query = "query",
        /// Which queues are due, and claims that are given back.
        Queue = "queue",
        /// Documents: tenants, app states, campaigns, saved answers.
        Document = "document",
        /// Who does what, and shares of the pace.
        Lease = "lease",
        /// The event feed.
        Feed = "feed",
        /// Inboxes and outboxes.
        Streams = "streams",
        /// Whether the store is well.
        Probe = "probe",
        /// Feeds trimmed, lists and counters dropped: as long as they are large.
        Upkeep = "upkeep",
    }
}

label! {
    /// How a store call failed.
    pub enum StoreFault {
        /// It cannot be reached or is not ready.
        Unavailable = "unavailable",
        /// It has no room for new work.
        Full = "full",
        /// It holds something unreadable.
        Damaged = "damaged",
        /// Another broker has taken over.
        Fenced = "fenced",
    }
}

label! {
    /// A kind of actor.
    pub enum ActorKind {
        /// Holds an app's token.
        TokenKeeper = "token_keeper",
        /// Holds an app's rate.
        Pacer = "pacer",
        /// Renews the shares of all apps' rates.
        Sharer = "sharer",
        /// Knows which queues are due.
        Scout = "scout",
        /// Claims, sends and settles.
        Dispatcher = "dispatcher",
        /// Releases a campaign's targets.
        CampaignRunner = "campaign_runner",
        /// Ends what is over.
        Janitor = "janitor",
        /// Delivers webhooks.
        Notifier = "notifier",
        /// Reads commands from a stream.
        Inbox = "inbox",
        /// Counts what gauges show.
        Sampler = "sampler",
    }
}

label! {
    /// What became of a message of an inbox.
    pub enum MessageResult {
        /// What it asks for is durable.
        Done = "done",
        /// It was put to the dead letters.
        Refused = "refused",
    }
}

label! {
    /// How a request to a webhook ended, or that there will be no more.
    pub enum DeliveryResult {
        /// The console took it.
        Delivered = "delivered",
        /// The console refused it or could not be reached; it is tried again.
        Failed = "failed",
        /// No request: the webhook was switched off.
        Disabled = "disabled",
    }
}

label! {
    /// What became of spans on their way to the collector.
    pub enum ExportResult {
        /// The collector took them.
        Sent = "sent",
        /// It could not be reached or did not take them.
        Failed = "failed",
    }
}
