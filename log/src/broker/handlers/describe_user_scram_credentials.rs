//! DescribeUserScramCredentials: there are none, as no listener authenticates; tools ask for them all the same
//! when they describe a user.

use crate::wire::ErrorCode;
use crate::wire::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};

pub(crate) fn handle(
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users = request.users.unwrap_or_default();
    let mut results: Vec<DescribeUserScramCredentialsResult> = Vec::new();
    for user in users.into_iter().map(|user| user.name) {
        if let Some(earlier) = results.iter_mut().find(|result| result.user == user) {
            earlier.error_code = ErrorCode::DuplicateResource.code();
            earlier.error_message = Some(format!("The request names user {user} twice.").into());
            continue;
        }
        let message = format!("The user {user} has no SCRAM credential.");
        results.push(DescribeUserScramCredentialsResult {
            user,
            error_code: ErrorCode::ResourceNotFound.code(),
            error_message: Some(message.into()),
            ..DescribeUserScramCredentialsResult::default()
        });
    }
    DescribeUserScramCredentialsResponse {
        error_message: None,
        results,
        ..DescribeUserScramCredentialsResponse::default()
    }
}
