//! The one declarative form in which messages are written down.
//!
//! ```text
//! messages! {
//!     /// What it is for.
//!     request ProduceRequest(Produce) {
//!         transactional_id: Option<Str> = None;      // nullable; default null
//!         acks: i16;                                 // in all versions; default 0
//!         topic_data: Vec<TopicProduceData>;
//!     }
//!     /// One topic.
//!     struct TopicProduceData {
//!         name: Str [..=12], ignorable;              // up to version 12; dropped silently by the others
//!         topic_id: Uuid [13..], ignorable;          // from version 13
//!         leader: LeaderIdAndEpoch [10.., tag 0];    // a tagged field from version 10
//!         title: Option<Str> [.., nullable 12..];    // always there, but null only from version 12
//!     }
//! }
//! ```
//!
//! `request` and `response` name their API, from which the catalogue knows the versions; `record` is a message
//! with versions of its own. A field that a version lacks must hold its default when it is encoded, unless it
//! is `ignorable`; what a version lacks is decoded as the default.

/// See the [module](self).
macro_rules! messages {
    ($($(#[$meta:meta])* $role:ident $name:ident $(($($head:tt)*))? { $($fields:tt)* })*) => {$(
        $crate::wire::declare::message_struct! { $(#[$meta])* $name { $($fields)* } }
        $crate::wire::declare::message_role! { $role $name $(($($head)*))? }
    )*};
}

/// A message's place in the protocol.
macro_rules! message_role {
    (struct $name:ident) => {};
    (request $name:ident ($api:ident)) => {
        impl $crate::wire::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::wire::Versions = $crate::wire::ApiKey::$api.versions();
        }
        impl $crate::wire::ApiMessage for $name {
            const API: $crate::wire::ApiKey = $crate::wire::ApiKey::$api;
        }
    };
    (response $name:ident ($api:ident)) => {
        $crate::wire::declare::message_role! { request $name ($api) }
    };
    (record $name:ident ($min:literal ..= $max:literal, flexible $flexible:literal)) => {
        impl $crate::wire::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::wire::Versions = $crate::wire::Versions {
                min: $min,
                max: $max,
                flexible_from: Some($flexible),
            };
        }
    };
    (record $name:ident ($min:literal ..= $max:literal)) => {
        impl $crate::wire::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::wire::Versions = $crate::wire::Versions {
                min: $min,
                max: $max,
                flexible_from: None,
            };
        }
    };
}

/// A struct with its default, its codec and its schema.
macro_rules! message_struct {
    ($(#[$meta:meta])* $name:ident { $(
        $(#[$fmeta:meta])*
        $field:ident : $ty:ty
        $([$range:expr $(, nullable $nullable:expr)? $(, tag $tag:literal)?])?
        $(= $default:expr)? $(, $ignorable:ident)? ;
    )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[$fmeta])*
                #[doc = concat!("`", stringify!($ty), "`" $(, ", versions `", stringify!($range), "`"
                    $(, ", null in `", stringify!($nullable), "`")? $(, ", tag ", stringify!($tag))?)?
                    $(, ", default `", stringify!($default), "`")? $(, ", ", stringify!($ignorable))?, ".")]
                pub $field: $ty,
            )*
            /// Tagged fields that this program does not know, kept as they came.
            pub unknown_tagged_fields: $crate::wire::TaggedFields,
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($field: $crate::wire::declare::field_default!($ty $(= $default)?),)*
                    unknown_tagged_fields: Default::default(),
                }
            }
        }

        impl $crate::wire::codec::Field for $name {
            const KIND: $crate::wire::schema::Kind =
                $crate::wire::schema::Kind::Struct(&$crate::wire::schema::StructSchema {
                    name: stringify!($name),
                    fields: &[$($crate::wire::schema::FieldSchema {
                        name: stringify!($field),
                        kind: <$ty as $crate::wire::codec::Field>::KIND,
                        in_version: |_version| $crate::wire::declare::in_range!(_version $($range)?),
                        nullable_in: |_version| $crate::wire::declare::nullable!($ty, _version $($(, $nullable)?)?),
                        tag: $crate::wire::declare::tag!($($($tag)?)?),
                    }),*],
                });

            fn declared_default() -> Self {
                Self::default()
            }

            fn encode(
                &self,
                encoder: &mut $crate::wire::codec::Encoder,
            ) -> Result<(), $crate::wire::WireError> {
                #[allow(unused_variables, reason = "not every struct differs by version")]
                let version = encoder.version();
                #[allow(unused_mut, reason = "not every struct has tagged fields")]
                let mut tags = $crate::wire::codec::KnownTags::default();
                $(
                    $crate::wire::declare::encode_field! {
                        (self.$field) encoder version tags
                        [$($range $(, nullable $nullable)? $(, tag $tag)?)?]
                        [$crate::wire::declare::field_default!($ty $(= $default)?)]
                        [$($ignorable)?]
                    }
                    .map_err(|error| error.at(stringify!($name), stringify!($field)))?;
                )*
                encoder
                    .tagged_fields(tags, &self.unknown_tagged_fields)
                    .map_err(|error| error.at(stringify!($name), "unknown_tagged_fields"))
            }

            fn decode(
                decoder: &mut $crate::wire::codec::Decoder,
            ) -> Result<Self, $crate::wire::WireError> {
                #[allow(unused_variables, reason = "not every struct differs by version")]
                let version = decoder.version();
                $(
                    #[allow(unused_mut, reason = "only tagged fields are assigned later")]
                    let mut $field: $ty = $crate::wire::declare::decode_field! {
                        decoder version $ty
                        [$($range $(, nullable $nullable)? $(, tag $tag)?)?]
                        [$crate::wire::declare::field_default!($ty $(= $default)?)]
                    }
                    .map_err(|error| error.at(stringify!($name), stringify!($field)))?;
                )*
                let unknown_tagged_fields = decoder
                    .tagged_fields(|_tag, _inner| {
                        $($crate::wire::declare::decode_tag! {
                            _tag _inner version $name $field
                            [$($range $(, nullable $nullable)? $(, tag $tag)?)?]
                        })*
                        Ok(false)
                    })
                    .map_err(|error| error.at(stringify!($name), "unknown_tagged_fields"))?;
                Ok($name { $($field,)* unknown_tagged_fields })
            }
        }

        impl $crate::wire::codec::Nullable for $name {
            fn encode_nullable(
                value: Option<&Self>,
                encoder: &mut $crate::wire::codec::Encoder,
            ) -> Result<(), $crate::wire::WireError> {
                $crate::wire::codec::encode_nullable_struct(value, encoder)
            }
            fn decode_nullable(
                decoder: &mut $crate::wire::codec::Decoder,
            ) -> Result<Option<Self>, $crate::wire::WireError> {
                $crate::wire::codec::decode_nullable_struct(decoder)
            }
        }
    };
}

/// A field's default: what is declared, else what its type says.
macro_rules! field_default {
    ($ty:ty) => {
        <$ty as $crate::wire::codec::Field>::declared_default()
    };
    ($ty:ty = $default:expr) => {
        $default
    };
}

/// Whether a version lies in a field's range.
macro_rules! in_range {
    ($version:ident) => {
        true
    };
    ($version:ident $range:expr) => {
        std::ops::RangeBounds::<i16>::contains(&($range), &$version)
    };
}

/// Whether a field may be null in a version.
macro_rules! nullable {
    ($ty:ty, $version:ident) => {
        <$ty as $crate::wire::codec::Field>::NULLABLE
    };
    ($ty:ty, $version:ident, $nullable:expr) => {
        std::ops::RangeBounds::<i16>::contains(&($nullable), &$version)
    };
}

/// A field's tag.
macro_rules! tag {
    () => {
        None
    };
    ($tag:literal) => {
        Some($tag)
    };
}

/// What to do with a field that the version lacks.
macro_rules! encode_absent {
    (($self:ident.$field:ident) $version:ident [$default:expr] [ignorable]) => {
        Ok::<(), $crate::wire::WireError>(())
    };
    (($self:ident.$field:ident) $version:ident [$default:expr] []) => {
        if $self.$field == $default {
            Ok::<(), $crate::wire::WireError>(())
        } else {
            Err($crate::wire::Problem::NotInVersion($version.number).into())
        }
    };
}

/// Encodes one field, as its declaration says.
macro_rules! encode_field {
    (($self:ident.$field:ident) $encoder:ident $version:ident $tags:ident [] [$default:expr] [$($ig:ident)?]) => {
        $crate::wire::codec::Field::encode(&$self.$field, $encoder)
    };
    (($self:ident.$field:ident) $encoder:ident $version:ident $tags:ident [$range:expr] [$default:expr] [$($ig:ident)?]) => {{
        let number = $version.number;
        if $crate::wire::declare::in_range!(number $range) {
            $crate::wire::codec::Field::encode(&$self.$field, $encoder)
        } else {
            $crate::wire::declare::encode_absent!(($self.$field) $version [$default] [$($ig)?])
        }
    }};
    (($self:ident.$field:ident) $encoder:ident $version:ident $tags:ident [$range:expr, nullable $nullable:expr] [$default:expr] [$($ig:ident)?]) => {{
        let number = $version.number;
        if !$crate::wire::declare::in_range!(number $range) {
            $crate::wire::declare::encode_absent!(($self.$field) $version [$default] [$($ig)?])
        } else if $self.$field.is_none() && !$crate::wire::declare::in_range!(number $nullable) {
            Err($crate::wire::Problem::Null(number).into())
        } else {
            $crate::wire::codec::Field::encode(&$self.$field, $encoder)
        }
    }};
    (($self:ident.$field:ident) $encoder:ident $version:ident $tags:ident [$range:expr, tag $tag:literal] [$default:expr] [$($ig:ident)?]) => {{
        let number = $version.number;
        if !$crate::wire::declare::in_range!(number $range) {
            $crate::wire::declare::encode_absent!(($self.$field) $version [$default] [$($ig)?])
        } else if $self.$field == $default {
            Ok(())
        } else {
            $tags.add($tag, &$self.$field, $version)
        }
    }};
}

/// Decodes one field, or gives its default where the version lacks it or tags it.
macro_rules! decode_field {
    ($decoder:ident $version:ident $ty:ty [] [$default:expr]) => {
        <$ty as $crate::wire::codec::Field>::decode($decoder)
    };
    ($decoder:ident $version:ident $ty:ty [$range:expr] [$default:expr]) => {{
        let number = $version.number;
        if $crate::wire::declare::in_range!(number $range) {
            <$ty as $crate::wire::codec::Field>::decode($decoder)
        } else {
            Ok($default)
        }
    }};
    ($decoder:ident $version:ident $ty:ty [$range:expr, nullable $nullable:expr] [$default:expr]) => {{
        let number = $version.number;
        if !$crate::wire::declare::in_range!(number $range) {
            Ok($default)
        } else {
            match <$ty as $crate::wire::codec::Field>::decode($decoder) {
                Ok(None) if !$crate::wire::declare::in_range!(number $nullable) => {
                    Err($crate::wire::WireError::from($crate::wire::Problem::Null(number)))
                }
                other => other,
            }
        }
    }};
    ($decoder:ident $version:ident $ty:ty [$range:expr, tag $tag:literal] [$default:expr]) => {
        Ok::<$ty, $crate::wire::WireError>($default)
    };
}

/// Takes a tagged field if this declaration is its own.
macro_rules! decode_tag {
    ($found:ident $inner:ident $version:ident $name:ident $field:ident [$range:expr, tag $tag:literal]) => {{
        let number = $version.number;
        if $found == $tag && $crate::wire::declare::in_range!(number $range) {
            $field = $crate::wire::codec::Field::decode($inner)
                .map_err(|error| error.at(stringify!($name), stringify!($field)))?;
            return Ok(true);
        }
    }};
    ($found:ident $inner:ident $version:ident $name:ident $field:ident [$($other:tt)*]) => {};
}

pub(crate) use {
    decode_field, decode_tag, encode_absent, encode_field, field_default, in_range, message_role,
    message_struct, messages, nullable, tag,
};
