//! The types of the users' ids.

use sqlx::types::Uuid;
use tower_activeconnect::UserId;

/// The type of the id column of the users table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserIdType {
    /// Text. Two ids that differ in case, accents or trailing spaces are two users, whatever the
    /// collation of the column says.
    #[default]
    Text,
    /// A whole number of at most 64 bits with a sign. The [`UserId`] is its decimal form without
    /// leading zeros.
    Integer,
    /// A UUID. The [`UserId`] is its hyphenated form in lower case.
    Uuid,
}

/// A user's id as the database stores it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StoredUserId {
    Text(String),
    Integer(i64),
    Uuid(Uuid),
}

/// How the column holds an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserIdFormat {
    Text,
    /// Text of a column whose collation takes several spellings for one.
    LaxText,
    Integer,
    /// The database's own type, or 16 bytes.
    Uuid,
    /// A column type that takes the hyphenated text of a UUID.
    UuidAsText,
}

impl UserIdFormat {
    /// The stored form of the id; `None` if no row can have it. Other spellings of a number or of a
    /// UUID are other users: the id "007" is not the user 7.
    pub(crate) fn store(self, user: &UserId) -> Option<StoredUserId> {
        let text = user.as_str();
        match self {
            // PostgreSQL rejects a text with a NUL character.
            Self::Text | Self::LaxText => {
                (!text.contains('\0')).then(|| StoredUserId::Text(text.to_owned()))
            }
            Self::Integer => {
                let integer = text.parse::<i64>().ok()?;
                (integer.to_string() == text).then_some(StoredUserId::Integer(integer))
            }
            Self::Uuid | Self::UuidAsText => {
                let uuid = Uuid::try_parse(text).ok()?;
                if uuid.hyphenated().to_string() != text {
                    return None;
                }
                Some(match self {
                    Self::Uuid => StoredUserId::Uuid(uuid),
                    _ => StoredUserId::Text(text.to_owned()),
                })
            }
        }
    }
}

impl From<UserIdType> for UserIdFormat {
    fn from(id_type: UserIdType) -> Self {
        match id_type {
            UserIdType::Text => Self::Text,
            UserIdType::Integer => Self::Integer,
            UserIdType::Uuid => Self::Uuid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(format: UserIdFormat, id: &str) -> Option<StoredUserId> {
        format.store(&id.into())
    }

    #[test]
    fn integer_has_one_spelling() {
        assert_eq!(stored(UserIdFormat::Integer, "-7"), Some(StoredUserId::Integer(-7)));
        for id in ["007", "+7", "7 ", " 7", "-0", "", "seven", "9223372036854775808"] {
            assert_eq!(stored(UserIdFormat::Integer, id), None, "{id:?}");
        }
    }

    #[test]
    fn uuid_has_one_spelling() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert!(matches!(stored(UserIdFormat::Uuid, id), Some(StoredUserId::Uuid(_))));
        let text = StoredUserId::Text(id.to_owned());
        assert_eq!(stored(UserIdFormat::UuidAsText, id), Some(text));
        let upper = id.to_uppercase();
        let braced = format!("{{{id}}}");
        for id in [upper.as_str(), &braced, "67e5504410b1426f9247bb680e5fe0c8", "alice", ""] {
            assert_eq!(stored(UserIdFormat::Uuid, id), None, "{id:?}");
            assert_eq!(stored(UserIdFormat::UuidAsText, id), None, "{id:?}");
        }
    }

    #[test]
    fn text_without_nul_is_stored_as_it_is() {
        for id in ["", " alice ", "ALICE", "日本"] {
            assert_eq!(stored(UserIdFormat::Text, id), Some(StoredUserId::Text(id.to_owned())));
        }
        assert_eq!(stored(UserIdFormat::Text, "a\0b"), None);
    }
}
