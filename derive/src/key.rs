//! `#[derive(Key)]`.

use crate::attributes::{Attributes, tag_of};
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Data, DataEnum, DeriveInput, Error, Expr, ExprLit, Field, Fields, GenericParam, Ident, Index, Lifetime,
    Lit, Member, Path, Result, Type, Variant,
};

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::of(&input.attrs, &["name", "crate"])?;
    let target = Target::of(input, attributes.crate_path())?;
    match &input.data {
        Data::Struct(data) => target.of_struct(&data.fields, attributes.name.as_deref()),
        Data::Enum(data) => target.of_enum(data, attributes.name.as_deref()),
        Data::Union(_) => Err(Error::new_spanned(&input.ident, "a key is a struct or an enum, not a union")),
    }
}

/// The type that becomes a key.
struct Target<'i> {
    ident: &'i Ident,
    /// Its lifetime, if it borrows.
    lifetime: Option<&'i Lifetime>,
    krate: Path,
}

/// A field: how it is reached, its type, and the type whose encoding it has.
struct Part<'i> {
    member: Member,
    binding: Ident,
    ty: &'i Type,
    codec: TokenStream,
}

struct Case<'i> {
    ident: &'i Ident,
    name: String,
    tag: u8,
    parts: Vec<Part<'i>>,
}

impl<'i> Target<'i> {
    fn of(input: &'i DeriveInput, krate: Path) -> Result<Self> {
        let mut lifetime = None;
        for param in &input.generics.params {
            match param {
                GenericParam::Lifetime(param) if lifetime.is_none() => lifetime = Some(&param.lifetime),
                GenericParam::Lifetime(_) => {
                    return Err(Error::new_spanned(
                        param,
                        "a key borrows with one lifetime: use the same for all fields",
                    ));
                }
                _ => {
                    return Err(Error::new_spanned(
                        param,
                        "a key has no parameters, for its stored name must be known: write a struct for each, or use a tuple",
                    ));
                }
            }
        }
        Ok(Target { ident: &input.ident, lifetime, krate })
    }

    /// The type with another lifetime.
    fn lent(&self, lifetime: &str) -> TokenStream {
        let (ident, lifetime) = (self.ident, Lifetime::new(lifetime, Span::call_site()));
        match self.lifetime {
            Some(_) => quote!(#ident<#lifetime>),
            None => quote!(#ident),
        }
    }

    fn parts(&self, fields: &'i Fields) -> Result<Vec<Part<'i>>> {
        fields.iter().enumerate().map(|(index, field)| self.part(index, field)).collect()
    }

    fn part(&self, index: usize, field: &'i Field) -> Result<Part<'i>> {
        Attributes::of(&field.attrs, &[])
            .map_err(|error| Error::new(error.span(), "there is nothing to say of a field"))?;
        refuse(&field.ty)?;
        let member = field.ident.clone().map_or_else(|| Member::Unnamed(Index::from(index)), Member::Named);
        let codec = match self.lifetime {
            Some(lifetime) => with_static(field.ty.to_token_stream(), lifetime),
            None => field.ty.to_token_stream(),
        };
        Ok(Part { member, binding: format_ident!("field_{index}"), ty: &field.ty, codec })
    }

    // ---- structs ----

    fn of_struct(&self, fields: &'i Fields, name: Option<&str>) -> Result<TokenStream> {
        let parts = self.parts(fields)?;
        Ok(match &parts[..] {
            [part] => self.of_one_field(part, name),
            _ => self.of_fields(&parts, name),
        })
    }

    /// Written as its only field is.
    fn of_one_field(&self, part: &Part, name: Option<&str>) -> TokenStream {
        let Part { member, codec, ty, .. } = part;
        let (krate, ident, view) = (&self.krate, self.ident, self.lent("'view"));
        let fixed = name.map(|name| format!("{name}("));
        let type_name = match fixed {
            None => quote!(<#codec as #krate::codec::Codec>::type_name()),
            Some(open) => self.stored_name(&quote! {
                #krate::codec::derived::short_name(
                    [#open, &<#codec as #krate::codec::Codec>::type_name(), ")"].concat()
                )
            }),
        };
        let codec_impl = self.codec_impl(
            &quote!(<#codec as #krate::codec::Codec>::WIDTH),
            &type_name,
            &quote! {
                let view = <#codec as #krate::codec::Codec>::decode(bytes)?;
                ::core::result::Result::Ok(#ident { #member: #krate::codec::FromPart::from_part(view) })
            },
        );
        let part_impl = self.part_impl(&quote! {
            let (part, rest) = <#codec as #krate::codec::KeyPart>::decode_part(bytes)?;
            ::core::result::Result::Ok((#ident { #member: #krate::codec::FromPart::from_part(part) }, rest))
        });
        let encode_impl = self.encode_impl(
            &view,
            &quote!(<#ty as #krate::codec::Encode<#codec>>::Bytes<'bytes>),
            &quote!(#krate::codec::Encode::<#codec>::encode(&self.#member)),
            &quote!(#krate::codec::EncodePart::<#codec>::encode_part(&self.#member, out);),
        );
        let tuple_impl = self.tuple_of_one(codec);
        quote!(#codec_impl #part_impl #encode_impl #tuple_impl)
    }

    /// What the field accepts, in a tuple of its own, can stand for the struct.
    fn tuple_of_one(&self, codec: &TokenStream) -> TokenStream {
        let (krate, this) = (&self.krate, self.lent("'static"));
        quote! {
            #[automatically_derived]
            impl<Q: #krate::codec::Encode<#codec>> #krate::codec::Encode<#this> for (Q,) {
                type Bytes<'bytes> = Q::Bytes<'bytes> where Self: 'bytes;

                fn encode(&self) -> Self::Bytes<'_> {
                    self.0.encode()
                }
            }

            #[automatically_derived]
            impl<Q: #krate::codec::EncodePart<#codec>> #krate::codec::EncodePart<#this> for (Q,) {
                fn encode_part(&self, out: &mut ::std::vec::Vec<u8>) {
                    self.0.encode_part(out);
                }
            }
        }
    }

    /// Written as the tuple of its fields is.
    fn of_fields(&self, parts: &[Part], name: Option<&str>) -> TokenStream {
        let (krate, ident) = (&self.krate, self.ident);
        let codecs: Vec<_> = parts.iter().map(|part| &part.codec).collect();
        let members: Vec<_> = parts.iter().map(|part| &part.member).collect();
        let type_name = match (name, parts.is_empty()) {
            (None, true) => quote!(<() as #krate::codec::Codec>::type_name()),
            (None, false) => {
                let list = self.list_of_names("(", parts);
                self.stored_name(&quote!(#list))
            }
            (Some(name), _) => {
                let list = self.list_of_names(&format!("{name}("), parts);
                self.stored_name(&quote!(#krate::codec::derived::short_name(#list)))
            }
        };
        let width = quote!(#krate::codec::derived::sum(&[#(<#codecs as #krate::codec::Codec>::WIDTH),*]));
        let codec_impl = self.codec_impl(&width, &type_name, &self.decode_whole());
        let (read, fields) = (self.read_parts(parts, None), self.fields(parts));
        let part_impl = self.part_impl(&quote! {
            let rest = bytes;
            #read
            ::core::result::Result::Ok((#ident { #fields }, rest))
        });
        let encode_impl = self.encode_by_parts(&quote! {
            #(#krate::codec::EncodePart::<#codecs>::encode_part(&self.#members, out);)*
        });
        let tuples = if parts.is_empty() { TokenStream::new() } else { self.tuples(&codecs) };
        quote!(#codec_impl #part_impl #encode_impl #tuples)
    }

    /// A tuple can stand for the struct, and a shorter one for its beginning.
    fn tuples(&self, codecs: &[&TokenStream]) -> TokenStream {
        let (krate, this) = (&self.krate, self.lent("'static"));
        let all: Vec<Ident> = (0..codecs.len()).map(|index| format_ident!("Q{index}")).collect();
        let indexes: Vec<Index> = (0..codecs.len()).map(Index::from).collect();
        let prefixes = (1..=codecs.len()).map(|len| {
            let (all, codecs, indexes) = (&all[..len], &codecs[..len], &indexes[..len]);
            quote! {
                #[automatically_derived]
                impl<#(#all: #krate::codec::EncodePart<#codecs>),*> #krate::codec::EncodePrefix<#this> for (#(#all,)*) {
                    fn encode_prefix(&self, out: &mut ::std::vec::Vec<u8>) {
                        #(#krate::codec::EncodePart::<#codecs>::encode_part(&self.#indexes, out);)*
                    }
                }
            }
        });
        quote! {
            #(#prefixes)*

            #[automatically_derived]
            impl<#(#all: #krate::codec::EncodePart<#codecs>),*> #krate::codec::Encode<#this> for (#(#all,)*) {
                type Bytes<'bytes> = ::std::vec::Vec<u8> where Self: 'bytes;

                fn encode(&self) -> ::std::vec::Vec<u8> {
                    let mut out = ::std::vec::Vec::with_capacity(#krate::codec::derived::TUPLE_CAPACITY);
                    #krate::codec::EncodePart::<#this>::encode_part(self, &mut out);
                    out
                }
            }

            #[automatically_derived]
            impl<#(#all: #krate::codec::EncodePart<#codecs>),*> #krate::codec::EncodePart<#this> for (#(#all,)*) {
                fn encode_part(&self, out: &mut ::std::vec::Vec<u8>) {
                    #(#krate::codec::EncodePart::<#codecs>::encode_part(&self.#indexes, out);)*
                }
            }
        }
    }

    // ---- enums ----

    fn of_enum(&self, data: &'i DataEnum, name: Option<&str>) -> Result<TokenStream> {
        if data.variants.is_empty() {
            return Err(Error::new_spanned(
                self.ident,
                "an enum without variants has no values, so it is no key",
            ));
        }
        let cases = self.cases(data)?;
        let (krate, ident) = (&self.krate, self.ident);
        let widths = cases.iter().map(|case| {
            let codecs = case.parts.iter().map(|part| &part.codec);
            quote! {
                #krate::codec::derived::sum(
                    &[::core::option::Option::Some(1) #(, <#codecs as #krate::codec::Codec>::WIDTH)*]
                )
            }
        });
        let type_name = self.name_of_enum(&cases, name.unwrap_or("enum"));
        let codec_impl = self.codec_impl(
            &quote!(#krate::codec::derived::one_width(&[#(#widths),*])),
            &type_name,
            &self.decode_whole(),
        );
        let arms = cases.iter().map(|case| self.decode_case(case));
        let tags = cases.iter().map(|case| case.tag.to_string()).collect::<Vec<_>>().join(", ");
        let part_impl = self.part_impl(&quote! {
            match bytes {
                #(#arms)*
                _ => ::core::result::Result::Err(#krate::codec::derived::unknown_tag::<Self>(#tags, bytes)),
            }
        });
        let arms = cases.iter().map(|case| {
            let Case { ident: variant, tag, parts, .. } = case;
            let members = parts.iter().map(|part| &part.member);
            let bindings: Vec<_> = parts.iter().map(|part| &part.binding).collect();
            let codecs = parts.iter().map(|part| &part.codec);
            quote! {
                #ident::#variant { #(#members: #bindings),* } => {
                    out.push(#tag);
                    #(#krate::codec::EncodePart::<#codecs>::encode_part(#bindings, out);)*
                }
            }
        });
        let encode_impl = self.encode_by_parts(&quote!(match self { #(#arms)* }));
        Ok(quote!(#codec_impl #part_impl #encode_impl))
    }

    fn cases(&self, data: &'i DataEnum) -> Result<Vec<Case<'i>>> {
        let mut cases: Vec<Case> = Vec::new();
        for variant in &data.variants {
            let attributes = Attributes::of(&variant.attrs, &["name", "tag"])?;
            let before = cases.last().map(|case| case.tag);
            let tag = tag_of_variant(variant, &attributes, before)?;
            let name = attributes.name.unwrap_or_else(|| unraw(&variant.ident));
            if cases.iter().any(|case| case.name == name) {
                return Err(Error::new_spanned(
                    &variant.ident,
                    format!("another variant is stored as {name:?} too"),
                ));
            }
            cases.push(Case { ident: &variant.ident, name, tag, parts: self.parts(&variant.fields)? });
        }
        Ok(cases)
    }

    fn name_of_enum(&self, cases: &[Case], name: &str) -> TokenStream {
        let krate = &self.krate;
        let open = format!("{name}{{");
        let lists = cases.iter().enumerate().map(|(index, case)| {
            let comma = if index == 0 { "" } else { "," };
            let head = format!("{comma}{}:{}", case.tag, case.name);
            match case.parts.is_empty() {
                true => quote!(::std::string::String::from(#head)),
                false => self.list_of_names(&format!("{head}("), &case.parts),
            }
        });
        self.stored_name(&quote! {
            #krate::codec::derived::short_name([
                ::std::string::String::from(#open),
                #(#lists,)*
                ::std::string::String::from("}"),
            ].concat())
        })
    }

    fn decode_case(&self, case: &Case) -> TokenStream {
        let (ident, Case { ident: variant, tag, parts, .. }) = (self.ident, case);
        let (read, fields) = (self.read_parts(parts, Some(variant)), self.fields(parts));
        quote! {
            [#tag, rest @ ..] => {
                #read
                ::core::result::Result::Ok((#ident::#variant { #fields }, rest))
            }
        }
    }

    // ---- both ----

    /// `"(u8,str)"`, with what it begins with.
    fn list_of_names(&self, open: &str, parts: &[Part]) -> TokenStream {
        let (krate, codecs) = (&self.krate, parts.iter().map(|part| &part.codec));
        quote! {
            [#open, &[#(<#codecs as #krate::codec::Codec>::type_name()),*].join(","), ")"].concat()
        }
    }

    /// A name that is put together once.
    fn stored_name(&self, name: &TokenStream) -> TokenStream {
        quote! {
            static NAME: ::std::sync::OnceLock<::std::string::String> = ::std::sync::OnceLock::new();
            ::std::borrow::Cow::Borrowed(NAME.get_or_init(|| #name).as_str())
        }
    }

    /// Takes all fields from `rest`.
    fn read_parts(&self, parts: &[Part], variant: Option<&Ident>) -> TokenStream {
        let krate = &self.krate;
        let reads = parts.iter().map(|Part { member, binding, codec, .. }| {
            let member = match member {
                Member::Named(name) => unraw(name),
                Member::Unnamed(index) => index.index.to_string(),
            };
            let place = match variant {
                Some(variant) => format!("field {}.{member}", unraw(variant)),
                None => format!("field {member}"),
            };
            quote! {
                let (#binding, rest) = <#codec as #krate::codec::KeyPart>::decode_part(rest)
                    .map_err(|error| error.within(#place))?;
            }
        });
        quote!(#(#reads)*)
    }

    fn fields(&self, parts: &[Part]) -> TokenStream {
        let krate = &self.krate;
        let members = parts.iter().map(|part| &part.member);
        let bindings = parts.iter().map(|part| &part.binding);
        quote!(#(#members: #krate::codec::FromPart::from_part(#bindings)),*)
    }

    fn decode_whole(&self) -> TokenStream {
        let krate = &self.krate;
        quote! {
            match <Self as #krate::codec::KeyPart>::decode_part(bytes)? {
                (view, []) => ::core::result::Result::Ok(view),
                (_, rest) => ::core::result::Result::Err(#krate::codec::derived::trailing::<Self>(rest)),
            }
        }
    }

    fn codec_impl(&self, width: &TokenStream, type_name: &TokenStream, decode: &TokenStream) -> TokenStream {
        let (krate, this, view) = (&self.krate, self.lent("'static"), self.lent("'view"));
        quote! {
            #[automatically_derived]
            impl #krate::codec::Codec for #this {
                type View<'view> = #view;

                const WIDTH: ::core::option::Option<usize> = #width;

                fn type_name() -> ::std::borrow::Cow<'static, str> {
                    #type_name
                }

                fn decode(bytes: &[u8]) -> ::core::result::Result<Self::View<'_>, #krate::codec::DecodeError> {
                    #decode
                }
            }

            #[automatically_derived]
            impl #krate::codec::Key for #this {}
        }
    }

    fn part_impl(&self, decode: &TokenStream) -> TokenStream {
        let (krate, this, view) = (&self.krate, self.lent("'static"), self.lent("'view"));
        let impl_generics = self.lifetime.map(|_| quote!(<'view>));
        quote! {
            #[automatically_derived]
            impl #krate::codec::KeyPart for #this {
                type Part<'view> = #view;

                fn decode_part(
                    bytes: &[u8],
                ) -> ::core::result::Result<(Self::Part<'_>, &[u8]), #krate::codec::DecodeError> {
                    #decode
                }
            }

            #[automatically_derived]
            impl #impl_generics #krate::codec::FromPart<#view> for #view {
                fn from_part(part: #view) -> Self {
                    part
                }
            }
        }
    }

    fn encode_by_parts(&self, parts: &TokenStream) -> TokenStream {
        let (krate, this) = (&self.krate, self.lent("'static"));
        let encode = quote! {
            let width = <#this as #krate::codec::Codec>::WIDTH;
            let capacity = width.unwrap_or(#krate::codec::derived::TUPLE_CAPACITY);
            let mut out = ::std::vec::Vec::with_capacity(capacity);
            #krate::codec::EncodePart::<#this>::encode_part(self, &mut out);
            out
        };
        self.encode_impl(&self.lent("'view"), &quote!(::std::vec::Vec<u8>), &encode, parts)
    }

    /// For the type, and a reference to it.
    fn encode_impl(
        &self,
        view: &TokenStream,
        bytes: &TokenStream,
        encode: &TokenStream,
        parts: &TokenStream,
    ) -> TokenStream {
        let (krate, this) = (&self.krate, self.lent("'static"));
        let impl_generics = self.lifetime.map(|_| quote!(<'view>));
        let more_generics = self.lifetime.map(|_| quote!('view));
        // The fields' types are written with the type's own lifetime.
        let (bytes, encode, parts) = match self.lifetime {
            Some(lifetime) => (
                renamed(bytes.clone(), lifetime, "view"),
                renamed(encode.clone(), lifetime, "view"),
                renamed(parts.clone(), lifetime, "view"),
            ),
            None => (bytes.clone(), encode.clone(), parts.clone()),
        };
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::codec::Encode<#this> for #view {
                type Bytes<'bytes> = #bytes where Self: 'bytes;

                fn encode(&self) -> Self::Bytes<'_> {
                    #encode
                }
            }

            #[automatically_derived]
            impl #impl_generics #krate::codec::EncodePart<#this> for #view {
                fn encode_part(&self, out: &mut ::std::vec::Vec<u8>) {
                    #parts
                }
            }

            #[automatically_derived]
            impl<'of, #more_generics> #krate::codec::Encode<#this> for &'of #view {
                type Bytes<'bytes> = <#view as #krate::codec::Encode<#this>>::Bytes<'bytes> where Self: 'bytes;

                fn encode(&self) -> Self::Bytes<'_> {
                    #krate::codec::Encode::<#this>::encode(*self)
                }
            }

            #[automatically_derived]
            impl<'of, #more_generics> #krate::codec::EncodePart<#this> for &'of #view {
                fn encode_part(&self, out: &mut ::std::vec::Vec<u8>) {
                    #krate::codec::EncodePart::<#this>::encode_part(*self, out);
                }
            }
        }
    }
}

/// The tag said, or that of Rust: the discriminant, or one more than that of the variant before.
fn tag_of_variant(variant: &Variant, attributes: &Attributes, before: Option<u8>) -> Result<u8> {
    let said = match (&attributes.tag, &variant.discriminant) {
        (Some(tag), _) => Some(*tag),
        (None, Some((_, Expr::Lit(ExprLit { lit: Lit::Int(number), .. })))) => {
            Some((tag_of(number)?, number.span()))
        }
        (None, Some((_, other))) => {
            return Err(Error::new_spanned(other, "the tag must be known here: add `#[mapleaf(tag = 7)]`"));
        }
        (None, None) => None,
    };
    match (said, before) {
        (Some((tag, span)), Some(before)) if tag <= before => Err(Error::new(
            span,
            format!(
                "tags must ascend, for keys sort by them, and `Ord` by the order here: expected more than {before}"
            ),
        )),
        (Some((tag, _)), _) => Ok(tag),
        (None, None) => Ok(0),
        (None, Some(before)) => before.checked_add(1).ok_or_else(|| {
            Error::new_spanned(&variant.ident, "a tag is one byte, and 255 is taken: at most 256 variants")
        }),
    }
}

/// What has no encoding, with what to use instead.
fn refuse(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(_) => Err(Error::new_spanned(
            ty,
            "a key cannot hold a reference, for text in it may have to be unescaped: use `String`, `Vec<u8>` or an array, \
             or `Cow<'a, str>` to borrow where that is possible",
        )),
        Type::Path(path) if path.path.is_ident("usize") || path.path.is_ident("isize") => {
            let wide = if path.path.is_ident("usize") { "u64" } else { "i64" };
            Err(Error::new_spanned(
                ty,
                format!("this is of another width on other machines, to which the file may go: use `{wide}`"),
            ))
        }
        _ => Ok(()),
    }
}

fn unraw(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

/// The same tokens, with `'static` for the lifetime.
fn with_static(tokens: TokenStream, lifetime: &Lifetime) -> TokenStream {
    renamed(tokens, lifetime, "static")
}

fn renamed(tokens: TokenStream, lifetime: &Lifetime, to: &str) -> TokenStream {
    let mut after_quote = false;
    let rename = |tree| {
        let is_name = std::mem::replace(&mut after_quote, is_quote(&tree));
        match tree {
            TokenTree::Ident(ident) if is_name && ident == lifetime.ident => {
                TokenTree::Ident(Ident::new(to, ident.span()))
            }
            TokenTree::Group(group) => {
                let inside = renamed(group.stream(), lifetime, to);
                let mut other = proc_macro2::Group::new(group.delimiter(), inside);
                other.set_span(group.span());
                TokenTree::Group(other)
            }
            other => other,
        }
    };
    tokens.into_iter().map(rename).collect()
}

fn is_quote(tree: &TokenTree) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == '\'')
}
