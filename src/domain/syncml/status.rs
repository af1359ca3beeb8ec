//! `Push/Status`: the device's own word on its registration with WNS, explained.

/// The numbers of the DMClient CSP. Microsoft's enrolment protocol [MS-MDE2] gives 8 another meaning than the CSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushStatus {
    /// 0
    Success,
    /// 1
    InvalidPfn,
    /// 2
    DeviceAuthentication,
    /// 3
    RegistrationFailed,
    /// 4
    NoChannelUri,
    /// 5
    ChannelUriExpired,
    /// 6
    RevocationFailed,
    /// 7
    NoSession,
    /// 8
    Unknown,
    /// A number that no document lists.
    Other(i32),
}

impl PushStatus {
    /// Takes the number that the device sent.
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::InvalidPfn,
            2 => Self::DeviceAuthentication,
            3 => Self::RegistrationFailed,
            4 => Self::NoChannelUri,
            5 => Self::ChannelUriExpired,
            6 => Self::RevocationFailed,
            7 => Self::NoSession,
            8 => Self::Unknown,
            _ => Self::Other(code),
        }
    }

    /// The number.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::InvalidPfn => 1,
            Self::DeviceAuthentication => 2,
            Self::RegistrationFailed => 3,
            Self::NoChannelUri => 4,
            Self::ChannelUriExpired => 5,
            Self::RevocationFailed => 6,
            Self::NoSession => 7,
            Self::Unknown => 8,
            Self::Other(code) => code,
        }
    }

    /// What it says.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "the device is registered for push",
            Self::InvalidPfn => "the package family name is invalid",
            Self::DeviceAuthentication => {
                "the device's authentication with the Microsoft account service is invalid or has expired"
            }
            Self::RegistrationFailed => {
                "the registration with WNS failed: the package family name is invalid or revoked"
            }
            Self::NoChannelUri => "no channel URI has been assigned",
            Self::ChannelUriExpired => "the channel URI has expired",
            Self::RevocationFailed => "the channel URI could not be revoked",
            Self::NoSession => {
                "a push arrived, but power or connectivity did not allow a management session"
            }
            Self::Unknown => "unknown error, or push is not available on this edition of Windows",
            Self::Other(_) => "a status that Microsoft does not document",
        }
    }

    /// What helps; empty if nothing is wrong.
    #[must_use]
    pub const fn cure(self) -> &'static str {
        match self {
            Self::Success => "",
            Self::InvalidPfn | Self::RegistrationFailed => {
                "compare the PFN with the one in Partner Center, then set it again"
            }
            Self::DeviceAuthentication => {
                "check that the device reaches login.live.com and that its clock is right"
            }
            Self::NoChannelUri => {
                "set the PFN again, unless this session has just done so: registration takes a moment; if it stays, check that the device reaches *.wns.windows.com on port 443"
            }
            Self::ChannelUriExpired => "set the PFN again, so that the device registers anew",
            Self::RevocationFailed => {
                "ask again in the next session; the old channel dies by itself"
            }
            Self::NoSession => "nothing to mend: push again when the device has power and network",
            Self::Unknown => {
                "check the edition (Pro, Enterprise, Education, SE, IoT Enterprise) and the service dmwappushservice, and set the PFN again"
            }
            Self::Other(_) => "set the PFN again, unless this session has just done so",
        }
    }

    /// True if the cure has the PFN set again, so that the device registers anew: the only way to a new channel.
    #[must_use]
    pub const fn wants_pfn_again(self) -> bool {
        match self {
            Self::InvalidPfn
            | Self::RegistrationFailed
            | Self::NoChannelUri
            | Self::ChannelUriExpired
            | Self::Unknown
            | Self::Other(_) => true,
            Self::Success
            | Self::DeviceAuthentication
            | Self::RevocationFailed
            | Self::NoSession => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_words_and_a_cure() {
        let mut seen = std::collections::HashSet::new();
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, i32::MAX] {
            let status = PushStatus::from_code(code);
            assert_eq!(status.code(), code);
            assert_eq!(status.cure().is_empty(), code == 0);
            let again = ["set the PFN again", "set it again"];
            let again = again.iter().any(|words| status.cure().contains(words));
            assert_eq!(status.wants_pfn_again(), again, "{code}");
            seen.insert(status.meaning());
        }
        assert_eq!(seen.len(), 10);
    }
}
