//! What a client may do with a resource, as the bits that answers carry: everything that there is to do, as long
//! as nobody is refused anything.

/// One bit for each of Kafka's operation codes.
const fn bits(operations: &[u8]) -> i32 {
    let mut bits = 0;
    let mut rest = operations;
    while let [operation, more @ ..] = rest {
        bits |= 1 << *operation;
        rest = more;
    }
    bits
}

const READ: u8 = 3;
const WRITE: u8 = 4;
const CREATE: u8 = 5;
const DELETE: u8 = 6;
const ALTER: u8 = 7;
const DESCRIBE: u8 = 8;
const CLUSTER_ACTION: u8 = 9;
const DESCRIBE_CONFIGS: u8 = 10;
const ALTER_CONFIGS: u8 = 11;
const IDEMPOTENT_WRITE: u8 = 12;

/// What there is to do with a topic.
pub(crate) const TOPIC: i32 = bits(&[
    READ,
    WRITE,
    CREATE,
    DELETE,
    ALTER,
    DESCRIBE,
    DESCRIBE_CONFIGS,
    ALTER_CONFIGS,
]);

/// What there is to do with the cluster.
pub(crate) const CLUSTER: i32 = bits(&[
    CREATE,
    ALTER,
    DESCRIBE,
    CLUSTER_ACTION,
    DESCRIBE_CONFIGS,
    ALTER_CONFIGS,
    IDEMPOTENT_WRITE,
]);

/// What stands where the client did not ask.
pub(crate) const NOT_ASKED: i32 = i32::MIN;

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that a broker of Kafka without an authorizer sends.
    #[test]
    fn bits_are_kafkas() {
        assert_eq!((TOPIC, CLUSTER), (3576, 8096));
    }
}
