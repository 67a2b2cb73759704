//! A connector's life: which changes are allowed, and the record of each: who, when, what.

use crate::connector::{Connector, ConnectorState, Rotation};
use crate::ports::Invitation;
use crate::timestamp::Timestamp;

/// How long the tokens of before go on by default when the recipient's token is rotated, in seconds: 7 days.
pub const OVERLAP_SECONDS_DEFAULT: u32 = 7 * 86_400;

/// The longest overlap of a rotation, in seconds: 30 days.
pub const OVERLAP_SECONDS_MAX: u32 = 30 * 86_400;

/// How long an activation link can be used, in seconds: 7 days.
pub const LINK_LIFE_SECONDS: i64 = 7 * 86_400;

/// What is done to a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Made, changed in its settings, or set up anew after it was revoked.
    SetUp,
    /// Its share was read back: it takes data from now on.
    Verify,
    /// Its first live delivery was proven: history is being delivered.
    BeginBackfill,
    /// History is delivered, or was not asked for.
    Activate,
    /// Stopped from taking anything new.
    Disable,
    /// Takes data again.
    Enable,
    /// What it missed while it was disabled is delivered.
    CatchUp,
    /// The recipient gets a new token; the one of before ends soon.
    RotateToken,
    /// The recipient's access is removed.
    Revoke,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 9] = [
        Self::SetUp,
        Self::Verify,
        Self::BeginBackfill,
        Self::Activate,
        Self::Disable,
        Self::Enable,
        Self::CatchUp,
        Self::RotateToken,
        Self::Revoke,
    ];

    /// The action's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::Verify => "verify",
            Self::BeginBackfill => "begin-backfill",
            Self::Activate => "activate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::CatchUp => "catch-up",
            Self::RotateToken => "rotate-token",
            Self::Revoke => "revoke",
        }
    }

    /// Reads an action's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// On whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The execution: CloudTrail says who started it.
    pub execution: String,
    /// Who asked, as the operator says in `requestedBy`.
    pub requested_by: Option<String>,
}

/// One change of a connector, kept for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// Who.
    pub actor: Actor,
}

/// A change as the audit keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The revision that the change made of the connector's record.
    pub revision: u64,
    /// When, what and who.
    pub entry: AuditEntry,
}

/// Whether a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Changed {
    /// Made now, and audited.
    Now,
    /// Somebody else was first: what was read is out of date.
    Outdated,
}

/// Why a command does nothing to a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is still being set up: start its set-up again first.
    Provisioning,
    /// It was revoked: it can only be set up anew.
    Revoked,
}

/// What is asked for of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationWish {
    /// How long the tokens of before may go on, in seconds, at most [`OVERLAP_SECONDS_MAX`].
    pub overlap_seconds: u32,
    /// Whether a rotation that is under way is replaced by another: its link went astray.
    pub new_link: bool,
    /// When it was asked for. What began since is no reason to begin another: asked for once, begun once.
    pub asked_at: Timestamp,
}

/// The rules. Each gives the connector as the command leaves it, as the next revision of its record, or nothing if it
/// is like that already: a command that is started again changes nothing.
impl Connector {
    /// The connector in another state, as the next revision of its record.
    #[must_use]
    pub fn moved(&self, state: ConnectorState) -> Self {
        Self { state, revision: self.revision + 1, ..self.clone() }
    }

    /// Stopped from taking anything new. What it misses from now on is remembered; an earlier gap that is not caught
    /// up yet stays in it.
    ///
    /// # Errors
    ///
    /// Returns [`Refusal`] if there is nothing to stop.
    pub fn disabled(&self, now: Timestamp) -> Result<Option<Self>, Refusal> {
        match self.state {
            ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active => Ok(Some(Self {
                disabled_in: Some(self.state),
                missed_since: self.missed_since.or(Some(now)),
                ..self.moved(ConnectorState::Disabled)
            })),
            ConnectorState::Disabled => Ok(None),
            ConnectorState::Provisioning => Err(Refusal::Provisioning),
            ConnectorState::Revoked => Err(Refusal::Revoked),
        }
    }

    /// Back in the state that it was disabled in. What it missed is still to be caught up.
    ///
    /// # Errors
    ///
    /// Returns [`Refusal`] if it cannot take data.
    pub fn enabled(&self) -> Result<Option<Self>, Refusal> {
        match self.state {
            ConnectorState::Disabled => {
                // A record without the state of before goes through its rollout again, which delivers nothing twice.
                let state = self.disabled_in.unwrap_or(ConnectorState::Ready);
                Ok(Some(Self { disabled_in: None, ..self.moved(state) }))
            }
            ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active => Ok(None),
            ConnectorState::Provisioning => Err(Refusal::Provisioning),
            ConnectorState::Revoked => Err(Refusal::Revoked),
        }
    }

    /// The state that its rollout is in: a disabled connector's is the one that it was disabled in.
    #[must_use]
    pub fn rollout_state(&self) -> ConnectorState {
        self.disabled_in.unwrap_or(self.state)
    }

    /// What a ready connector comes to when its first live delivery is proven.
    #[must_use]
    pub fn proven(&self) -> (ConnectorState, Action) {
        if self.backfill {
            (ConnectorState::Backfilling, Action::BeginBackfill)
        } else {
            (ConnectorState::Active, Action::Activate)
        }
    }

    /// Disabled still, and past `ready` when it is enabled, because a live delivery that had begun before was proven;
    /// nothing if it was disabled in no state that waits for one.
    #[must_use]
    pub fn proven_while_disabled(&self) -> Option<Self> {
        let (proven, _) = self.proven();
        (self.disabled_in == Some(ConnectorState::Ready))
            .then(|| Self { disabled_in: Some(proven), ..self.moved(self.state) })
    }

    /// Without a recipient that reads. Nothing is left to go back to or to catch up: it is set up anew or not at all.
    #[must_use]
    pub fn revoked(&self) -> Option<Self> {
        (self.state != ConnectorState::Revoked).then(|| Self {
            disabled_in: None,
            missed_since: None,
            ..self.moved(ConnectorState::Revoked)
        })
    }

    /// With another rotation, or nothing if the newest one is what is asked for: it is gone on with.
    ///
    /// A rotation is under way while its link can be used, and then until the tokens of before have ended. It is
    /// another one that is asked for if a new link is wanted and it began before that was, or if tokens shall end earlier
    /// than it has them end.
    ///
    /// # Errors
    ///
    /// Returns [`Refusal`] if the recipient reads nothing.
    pub fn rotated(&self, wish: RotationWish, invitation: Invitation, now: Timestamp) -> Result<Option<Self>, Refusal> {
        match self.state {
            ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active | ConnectorState::Disabled => {
            }
            ConnectorState::Provisioning => return Err(Refusal::Provisioning),
            ConnectorState::Revoked => return Err(Refusal::Revoked),
        }
        let tokens_end_at = now.plus_seconds(wish.overlap_seconds.into());
        let under_way = self.rotation.is_some_and(|newest| {
            let settled_at = match invitation {
                Invitation::Used => newest.tokens_end_at,
                Invitation::Open | Invitation::Unsent => newest.began_at.plus_seconds(LINK_LIFE_SECONDS),
            };
            let goes_on = !wish.new_link && now < settled_at;
            tokens_end_at >= newest.tokens_end_at && (goes_on || newest.began_at >= wish.asked_at)
        });
        let next = Rotation { number: self.rotation_number() + 1, began_at: now, tokens_end_at };
        Ok((!under_way).then(|| Self { rotation: Some(next), ..self.moved(self.state) }))
    }
}

#[cfg(test)]
mod tests {
    use crate::connector::{Backend, Recipient, Scope, SecureContact, TokenRecipient};
    use crate::ids::{ConnectorId, TeamId};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::EPOCH.plus_seconds(seconds)
    }

    fn connector(state: ConnectorState) -> Connector {
        Connector {
            id: ConnectorId::new("acme").unwrap(),
            team: TeamId::new("t").unwrap(),
            recipient: Recipient::Token(TokenRecipient {
                secure_contact: SecureContact::new("data@acme.test").unwrap(),
                token_lifetime_days: 365,
                allowed_ips: Vec::new(),
            }),
            backend: Backend::Open,
            workflows: Scope::All,
            activity_log: true,
            backfill: true,
            max_rejected_fraction: 0.0,
            state,
            disabled_in: (state == ConnectorState::Disabled).then_some(ConnectorState::Backfilling),
            missed_since: (state == ConnectorState::Disabled).then_some(at(5)),
            rotation: None,
            created_at: at(0),
            revision: 3,
        }
    }

    /// The wish of an execution that began later than every rotation of these tests.
    fn a_week() -> RotationWish {
        let asked_at = at(100 * LINK_LIFE_SECONDS);
        RotationWish { overlap_seconds: OVERLAP_SECONDS_DEFAULT, new_link: false, asked_at }
    }

    fn no_overlap() -> RotationWish {
        RotationWish { overlap_seconds: 0, ..a_week() }
    }

    #[test]
    fn every_command_is_decided_in_every_state() {
        use ConnectorState::{Active, Backfilling, Disabled, Provisioning, Ready, Revoked};
        let to = |state| Ok(Some(state));
        let (unset, gone) = (Err(Refusal::Provisioning), Err(Refusal::Revoked));
        // State, and what it is after disabling, enabling, revoking and rotating; `None`: as before.
        for (state, disabled, enabled, revoked, rotated) in [
            (Provisioning, unset, unset, Some(Revoked), unset),
            (Ready, to(Disabled), Ok(None), Some(Revoked), to(Ready)),
            (Backfilling, to(Disabled), Ok(None), Some(Revoked), to(Backfilling)),
            (Active, to(Disabled), Ok(None), Some(Revoked), to(Active)),
            (Disabled, Ok(None), to(Backfilling), Some(Revoked), to(Disabled)),
            (Revoked, gone, gone, None, gone),
        ] {
            let before = connector(state);
            let state_of = |after: Option<Connector>| after.map(|after| after.state);
            assert_eq!(before.disabled(at(9)).map(state_of), disabled, "disabling {state:?}");
            assert_eq!(before.enabled().map(state_of), enabled, "enabling {state:?}");
            assert_eq!(state_of(before.revoked()), revoked, "revoking {state:?}");
            assert_eq!(before.rotated(a_week(), Invitation::Used, at(9)).map(state_of), rotated, "rotating {state:?}");
            let changes = [before.disabled(at(9)), before.enabled(), Ok(before.revoked())];
            for after in changes.into_iter().flatten().flatten() {
                assert_eq!(after.revision, before.revision + 1);
                assert_eq!(after.disabled_in.is_some(), after.state == Disabled);
            }
        }
    }

    #[test]
    fn a_command_that_is_started_again_finds_nothing_to_change() {
        for state in ConnectorState::ALL {
            let before = connector(state);
            for after in [before.disabled(at(9)), Ok(before.revoked())].into_iter().flatten().flatten() {
                let again = if after.state == ConnectorState::Disabled {
                    after.disabled(at(10)).unwrap()
                } else {
                    after.revoked()
                };
                assert_eq!(again, None, "{state:?}");
            }
            if let Ok(Some(after)) = before.enabled() {
                assert_eq!(after.enabled(), Ok(None));
            }
            if let Ok(Some(after)) = before.rotated(a_week(), Invitation::Used, at(9)) {
                assert_eq!(after.rotated(a_week(), Invitation::Unsent, at(10)), Ok(None), "{state:?}");
            }
        }
    }

    #[test]
    fn a_proof_while_it_is_disabled_is_remembered_for_when_it_is_enabled() {
        for (backfill, enabled) in [(true, ConnectorState::Backfilling), (false, ConnectorState::Active)] {
            let ready = Connector { backfill, ..connector(ConnectorState::Ready) };
            assert_eq!(ready.proven_while_disabled(), None, "it is not disabled");
            let disabled = ready.disabled(at(9)).unwrap().unwrap();
            assert_eq!(disabled.rollout_state(), ConnectorState::Ready);
            let proven = disabled.proven_while_disabled().unwrap();
            assert_eq!((proven.state, proven.missed_since), (ConnectorState::Disabled, Some(at(9))));
            assert_eq!(proven.proven_while_disabled(), None, "once");
            assert_eq!(proven.enabled().unwrap().unwrap().state, enabled);
        }
    }

    #[test]
    fn what_was_missed_is_remembered_from_the_first_gap_until_it_is_caught_up() {
        let first = connector(ConnectorState::Active).disabled(at(9)).unwrap().unwrap();
        assert_eq!((first.disabled_in, first.missed_since), (Some(ConnectorState::Active), Some(at(9))));
        let enabled = first.enabled().unwrap().unwrap();
        assert_eq!((enabled.state, enabled.missed_since), (ConnectorState::Active, Some(at(9))));
        let second = enabled.disabled(at(20)).unwrap().unwrap();
        assert_eq!(second.missed_since, Some(at(9)), "the first gap is in it");
        let revoked = second.revoked().unwrap();
        assert_eq!((revoked.disabled_in, revoked.missed_since), (None, None));
    }

    #[test]
    fn a_rotation_that_is_under_way_is_gone_on_with() {
        let began = 1_000;
        let rotated =
            connector(ConnectorState::Active).rotated(a_week(), Invitation::Used, at(began)).unwrap().unwrap();
        let week_later = began + LINK_LIFE_SECONDS;
        let expected = Rotation { number: 1, began_at: at(began), tokens_end_at: at(week_later) };
        assert_eq!(rotated.rotation, Some(expected));
        let again = |wish, invitation, seconds| {
            rotated.rotated(wish, invitation, at(seconds)).unwrap().map(|next| next.rotation.unwrap())
        };
        for (wish, invitation, seconds, is_another) in [
            (a_week(), Invitation::Unsent, began, false),
            (a_week(), Invitation::Open, began + 1, false),
            (a_week(), Invitation::Used, week_later - 1, false),
            (a_week(), Invitation::Used, week_later, true),
            (a_week(), Invitation::Open, week_later, true),
            (a_week(), Invitation::Unsent, week_later, true),
            (no_overlap(), Invitation::Open, began + 1, true),
            (no_overlap(), Invitation::Used, began + 1, true),
            (RotationWish { new_link: true, ..a_week() }, Invitation::Open, began + 1, true),
        ] {
            let next = again(wish, invitation, seconds);
            assert_eq!(next.is_some(), is_another, "{wish:?} {invitation:?} {seconds}");
            assert!(next.is_none_or(|next| next.number == 2));
        }
        let at_once =
            connector(ConnectorState::Active).rotated(no_overlap(), Invitation::Used, at(5)).unwrap().unwrap();
        assert_eq!(at_once.rotated(no_overlap(), Invitation::Open, at(6)), Ok(None), "its link can still be used");
        assert!(
            at_once.rotated(no_overlap(), Invitation::Used, at(6)).unwrap().is_some(),
            "its own token ends as well"
        );
    }

    #[test]
    fn a_rotation_that_began_since_it_was_asked_for_is_the_one_that_was_asked_for() {
        let rotated =
            connector(ConnectorState::Active).rotated(a_week(), Invitation::Used, at(1_000)).unwrap().unwrap();
        for (asked_at, overlap_seconds, is_another) in [
            (999, OVERLAP_SECONDS_DEFAULT, false),
            (1_000, OVERLAP_SECONDS_DEFAULT, false),
            (1_001, OVERLAP_SECONDS_DEFAULT, true),
            (999, 0, true),
        ] {
            let wish = RotationWish { overlap_seconds, new_link: true, asked_at: at(asked_at) };
            for invitation in [Invitation::Unsent, Invitation::Open, Invitation::Used] {
                let next = rotated.rotated(wish, invitation, at(1_002)).unwrap();
                assert_eq!(next.is_some(), is_another, "{wish:?} {invitation:?}");
            }
        }
    }

    #[test]
    fn actions_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("paint"), None);
    }
}
