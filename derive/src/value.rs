//! `#[derive(Value)]`.

use crate::attributes::Attributes;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Data, DataStruct, DeriveInput, Error, Field, GenericArgument, Ident, Path, PathArguments, Result, Type,
};

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::of(&input.attrs, &["name", "crate"])?;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "a value read in place is a struct, for any bytes must be one: use a number in it, or codec::Serde",
        ));
    };
    if let Some(param) = input.generics.params.first() {
        return Err(Error::new_spanned(
            param,
            "a value read in place has no parameters, for its stored name must be known: write a struct for each",
        ));
    }
    let impls = Impls { krate: attributes.crate_path(), ident: &input.ident };
    Ok(
        match judged(input, data)
            .and_then(|()| layout(data, attributes.name.as_deref().unwrap_or(""), &impls.krate))
        {
            Ok(layout) => impls.of(&layout),
            Err(error) => impls.stubs(&error),
        },
    )
}

/// # Errors
/// At each field that cannot lie in the file as it lies in memory; else for a layout that the compiler chooses.
fn judged(input: &DeriveInput, data: &DataStruct) -> Result<()> {
    let refusals = data.fields.iter().filter(|field| is_elsewhere(&field.ty)).map(refusal);
    let all = refusals.reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.map_or(Ok(()), Err)?;
    match has_fixed_layout(input)? {
        true => Ok(()),
        false => Err(Error::new_spanned(
            &input.ident,
            "add #[repr(C)]: without it the order of the fields in memory is the compiler's",
        )),
    }
}

fn refusal(field: &Field) -> Error {
    Error::new_spanned(
        &field.ty,
        "what this holds lies elsewhere in memory, so it cannot be read in place: store `Serde<T>` of a type that derives \
         Serialize and Deserialize (feature `serde`), or a tuple; or make the field `[u8; N]`",
    )
}

/// Whether a type refers to memory outside of itself, as far as its name tells.
fn is_elsewhere(ty: &Type) -> bool {
    const OWNERS: [&str; 20] = [
        "Arc",
        "BTreeMap",
        "BTreeSet",
        "BinaryHeap",
        "Box",
        "Bytes",
        "CString",
        "Cow",
        "HashMap",
        "HashSet",
        "IndexMap",
        "LinkedList",
        "OsString",
        "PathBuf",
        "Rc",
        "SmallVec",
        "String",
        "Vec",
        "VecDeque",
        "str",
    ];
    match ty {
        Type::Reference(_) | Type::Ptr(_) | Type::BareFn(_) | Type::Slice(_) | Type::TraitObject(_) => true,
        Type::Array(array) => is_elsewhere(&array.elem),
        Type::Group(group) => is_elsewhere(&group.elem),
        Type::Paren(paren) => is_elsewhere(&paren.elem),
        Type::Tuple(tuple) => tuple.elems.iter().any(is_elsewhere),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            OWNERS.iter().any(|owner| last.ident == owner)
                || matches!(&last.arguments, PathArguments::AngleBracketed(of) if of.args.iter().any(
                    |argument| matches!(argument, GenericArgument::Type(ty) if is_elsewhere(ty))
                ))
        }),
        _ => false,
    }
}

/// What is implemented, and for which type.
struct Impls<'i> {
    krate: Path,
    ident: &'i Ident,
}

impl Impls<'_> {
    /// All of it. Where the type lacks zerocopy's derives, one error says so: nothing else here needs them.
    fn of(&self, layout: &TokenStream) -> TokenStream {
        let Impls { krate, ident } = self;
        let missing = format!(
            "`{ident}` cannot be read in place without zerocopy's #[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]; \
             add them, or see what they say"
        );
        let check = quote_spanned! {ident.span()=>
            const _: () = ::core::assert!(InPlace::<#ident>::IS, #missing);
        };
        // A bound lifetime puts off the judgement to where the impl is used.
        let where_derived = quote! {
            where
                for<'any> #ident: #krate::zerocopy::FromBytes
                    + #krate::zerocopy::IntoBytes
                    + #krate::zerocopy::KnownLayout
                    + #krate::zerocopy::Immutable
        };
        let codec = self.codec(
            &quote!(::core::option::Option::Some(::core::mem::size_of::<#ident>())),
            &quote!(#krate::codec::derived::align_of_value::<#ident>()),
            &quote! {
                static NAME: ::std::sync::OnceLock<::std::string::String> = ::std::sync::OnceLock::new();
                ::std::borrow::Cow::Borrowed(NAME.get_or_init(|| #layout).as_str())
            },
            &quote!(InPlace::<#ident>::decode(bytes, <#ident as #krate::codec::Codec>::type_name)),
            &quote!(InPlace::<#ident>::bytes(self)),
        );
        quote! {
            const _: () = {
                #[allow(unused_imports)]
                use #krate::codec::derived::{InPlace, NotInPlace};

                #check

                #[automatically_derived]
                impl #krate::codec::Plain for #ident #where_derived {
                    fn layout() -> ::std::borrow::Cow<'static, str> {
                        <#ident as #krate::codec::Codec>::type_name()
                    }
                }

                #[automatically_derived]
                impl #krate::codec::Value for #ident #where_derived {}

                #codec
            };
        }
    }

    /// The error, and enough for what uses the type not to be in error too.
    fn stubs(&self, error: &Error) -> TokenStream {
        let never = quote!(::core::unreachable!());
        let codec = self.codec(&quote!(::core::option::Option::None), &quote!(1), &never, &never, &never);
        let error = error.to_compile_error();
        quote!(#error #codec)
    }

    fn codec(
        &self,
        width: &TokenStream,
        align: &TokenStream,
        type_name: &TokenStream,
        decode: &TokenStream,
        encode: &TokenStream,
    ) -> TokenStream {
        let Impls { krate, ident } = self;
        quote! {
            #[automatically_derived]
            impl #krate::codec::Codec for #ident {
                type View<'view> = &'view #ident;

                const WIDTH: ::core::option::Option<usize> = #width;

                const ALIGN: usize = #align;

                fn type_name() -> ::std::borrow::Cow<'static, str> {
                    #type_name
                }

                #[inline]
                fn decode(bytes: &[u8]) -> ::core::result::Result<Self::View<'_>, #krate::codec::DecodeError> {
                    #decode
                }
            }

            #[automatically_derived]
            impl #krate::codec::Encode<#ident> for #ident {
                type Bytes<'bytes> = &'bytes [u8];

                fn encode(&self) -> &[u8] {
                    #encode
                }
            }

            #[automatically_derived]
            impl #krate::codec::Encode<#ident> for &#ident {
                type Bytes<'bytes> = &'bytes [u8] where Self: 'bytes;

                fn encode(&self) -> &[u8] {
                    <#ident as #krate::codec::Encode<#ident>>::encode(self)
                }
            }
        }
    }
}

fn has_fixed_layout(input: &DeriveInput) -> Result<bool> {
    let mut fixed = false;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            fixed |= meta.path.is_ident("C") || meta.path.is_ident("transparent");
            if meta.input.peek(syn::token::Paren) {
                let _: proc_macro2::Group = meta.input.parse()?;
            }
            Ok(())
        })?;
    }
    Ok(fixed)
}

/// An expression for `"point{x:f32le,y:f32le}"`.
fn layout(data: &DataStruct, name: &str, krate: &syn::Path) -> Result<TokenStream> {
    let open = format!("{name}{{");
    let fields = data.fields.iter().enumerate().map(|(index, field)| {
        let (label, ty) = (label(index, field)?, &field.ty);
        Ok(quote!(::std::string::String::from(#label), <#ty as #krate::codec::Plain>::layout().into_owned()))
    });
    let fields: Vec<TokenStream> = fields.collect::<Result<_>>()?;
    Ok(quote! {
        #krate::codec::derived::short_name([
            ::std::string::String::from(#open),
            #(#fields,)*
            ::std::string::String::from("}"),
        ].concat())
    })
}

/// What stands before a field's type.
fn label(index: usize, field: &Field) -> Result<String> {
    let attributes = Attributes::of(&field.attrs, &["name"])?;
    let comma = if index == 0 { "" } else { "," };
    let name = attributes.name.or_else(|| {
        let name = field.ident.as_ref()?.to_string();
        Some(name.strip_prefix("r#").unwrap_or(&name).to_owned())
    });
    Ok(name.map_or_else(|| comma.to_owned(), |name| format!("{comma}{name}:")))
}
