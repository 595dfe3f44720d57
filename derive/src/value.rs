//! `#[derive(Value)]`.

use crate::attributes::Attributes;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataStruct, DeriveInput, Error, Field, Result};

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
    if !has_fixed_layout(input)? {
        return Err(Error::new_spanned(
            &input.ident,
            "add #[repr(C)]: without it the order of the fields in memory is the compiler's",
        ));
    }
    let krate = attributes.crate_path();
    let ident = &input.ident;
    let name = layout(data, attributes.name.as_deref().unwrap_or(""), &krate)?;
    Ok(quote! {
        #[automatically_derived]
        impl #krate::codec::Plain for #ident {
            fn layout() -> ::std::borrow::Cow<'static, str> {
                static NAME: ::std::sync::OnceLock<::std::string::String> = ::std::sync::OnceLock::new();
                ::std::borrow::Cow::Borrowed(NAME.get_or_init(|| #name).as_str())
            }
        }

        #[automatically_derived]
        impl #krate::codec::Value for #ident {}

        #[automatically_derived]
        impl #krate::codec::Codec for #ident {
            type View<'view> = &'view #ident;

            const WIDTH: ::core::option::Option<usize> =
                ::core::option::Option::Some(::core::mem::size_of::<#ident>());

            const ALIGN: usize = #krate::codec::derived::align_of_value::<#ident>();

            fn type_name() -> ::std::borrow::Cow<'static, str> {
                <#ident as #krate::codec::Plain>::layout()
            }

            #[inline]
            fn decode(bytes: &[u8]) -> ::core::result::Result<Self::View<'_>, #krate::codec::DecodeError> {
                #krate::codec::derived::in_place(bytes, <#ident as #krate::codec::Plain>::layout)
            }
        }

        #[automatically_derived]
        impl #krate::codec::Encode<#ident> for #ident {
            type Bytes<'bytes> = &'bytes [u8];

            fn encode(&self) -> &[u8] {
                #krate::zerocopy::IntoBytes::as_bytes(self)
            }
        }

        #[automatically_derived]
        impl #krate::codec::Encode<#ident> for &#ident {
            type Bytes<'bytes> = &'bytes [u8] where Self: 'bytes;

            fn encode(&self) -> &[u8] {
                #krate::zerocopy::IntoBytes::as_bytes(*self)
            }
        }
    })
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
