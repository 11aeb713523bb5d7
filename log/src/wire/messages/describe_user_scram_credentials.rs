//! DescribeUserScramCredentials: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks which users have SCRAM credentials; null or no users stand for all.
    request DescribeUserScramCredentialsRequest(DescribeUserScramCredentials) {
        users: Option<Vec<UserName>>;
    }

    /// A user asked for.
    struct UserName {
        name: Str;
    }

    /// The answer to a [`DescribeUserScramCredentialsRequest`].
    response DescribeUserScramCredentialsResponse(DescribeUserScramCredentials) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>;
        results: Vec<DescribeUserScramCredentialsResult>;
    }

    /// The credentials of one user.
    struct DescribeUserScramCredentialsResult {
        user: Str;
        error_code: i16;
        error_message: Option<Str>;
        credential_infos: Vec<CredentialInfo>;
    }

    /// One credential, without its secrets.
    struct CredentialInfo {
        mechanism: i8;
        iterations: i32;
    }
}
