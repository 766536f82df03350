//! What we say about the interface: each claim is a C expression and the value that we take it to have.

use std::mem::size_of;

/// One claim.
pub(super) struct Claim {
    /// What it is about, for people.
    pub(super) what: String,
    /// The C expression.
    pub(super) c: String,
    /// Our value.
    pub(super) ours: u64,
}

impl Claim {
    pub(super) fn new(what: impl Into<String>, c: impl Into<String>, ours: u64) -> Self {
        Claim { what: what.into(), c: c.into(), ours }
    }

    /// A number that the header knows by a name.
    pub(super) fn number(name: &str, ours: impl Into<u64>) -> Self {
        Claim::new(name, name, ours.into())
    }
}

/// Claims about one struct: its size, and of every field the offset and the size.
pub(super) fn layout_claims(c_type: &str, size: usize, fields: &[(&str, usize, usize)]) -> Vec<Claim> {
    let covered: usize = fields.iter().map(|(_, _, size)| size).sum();
    assert_eq!(covered, size, "{c_type}: a field is missing here");
    let whole = Claim::new(format!("{c_type}: size"), format!("sizeof({c_type})"), size as u64);
    let fields = fields.iter().flat_map(|(field, offset, size)| {
        let name = |what| format!("{c_type}, field {field}: {what}");
        [
            Claim::new(name("offset"), format!("offsetof({c_type}, {field})"), *offset as u64),
            Claim::new(name("size"), format!("sizeof((({c_type} *)0)->{field})"), *size as u64),
        ]
    });
    [whole].into_iter().chain(fields).collect()
}

/// The size of the field that `_get` gets.
pub(super) fn size_of_field<T, F>(_get: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Claims about a struct of ours: all fields are named, those whose names differ with the C name too.
macro_rules! layout {
    ($c_type:literal = $ours:ty { $($field:ident $(= $c_field:literal)?),+ $(,)? }) => {
        $crate::abi::claim::layout_claims($c_type, size_of::<$ours>(), &[$(
            (
                [$($c_field,)? stringify!($field)][0],
                std::mem::offset_of!($ours, $field),
                $crate::abi::claim::size_of_field(|ours: &$ours| &ours.$field),
            )
        ),+])
    };
}
pub(super) use layout;
