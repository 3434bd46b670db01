//! The catalogue: persons who may see footage, each by an act that designates them, what that lets them see, their tokens and
//! grants (Code de la sécurité intérieure, R253-3).
//!
//! ```text
//! token ──→ person ── act in force? hours? role? camera? age? ──→ permitted, or a denial that says why
//!              └──── or a grant: these cameras, this range, until then
//! ```
//!
//! Invariants: a person belongs to one tenant, and nothing here reads or writes across tenants; a token is kept as its hash
//! alone; what is decided, is decided from values and the time that the caller gives. A catalogue that is missing, older than
//! it was, or damaged is the caller's to report: it is never replaced silently.
//! Absent on purpose: HTTP, the journal, the clock.

mod catalogue;
mod credential;
mod decide;
mod identity;
mod person;
mod right;
mod rows;
mod sign_in;
mod token;

pub use self::catalogue::{Catalogue, CatalogueError, Mark, Tables};
pub use self::credential::{Authenticator, Hashed, PASSWORD_CHARS_MIN, RECOVERY_CODES, WeakPassword};
pub use self::decide::{Denial, Now, Sight};
pub use self::identity::{Account, Identity, Named};
pub use self::person::{Act, Designation, Grant, GrantId, Hours, Person, Scope};
pub use self::right::{Right, Role, Roles};
pub use self::sign_in::{By, Credential, Proof, Session, SessionSecret};
pub use self::token::{Secret, Token, TokenId};
