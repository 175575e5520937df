//! What is taken out of a foreign descriptor before it is compiled: options that are still texts. Their parser recurses
//! without a bound, and no compiler leaves them in what it gives away.

use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

/// Fails where messages are nested deeper than `most`.
pub(super) fn drop_uninterpreted(file: &mut FileDescriptorProto, most: usize) -> Result<(), String> {
    if let Some(options) = &mut file.options {
        options.uninterpreted_option.clear();
    }
    file.enum_type.iter_mut().for_each(of_enum);
    file.extension.iter_mut().for_each(of_field);
    for service in &mut file.service {
        if let Some(options) = &mut service.options {
            options.uninterpreted_option.clear();
        }
        for options in service.method.iter_mut().filter_map(|method| method.options.as_mut()) {
            options.uninterpreted_option.clear();
        }
    }
    file.message_type.iter_mut().try_for_each(|message| of_message(message, most))
}

fn of_message(message: &mut DescriptorProto, most: usize) -> Result<(), String> {
    let below = most.checked_sub(1).ok_or("its messages are nested too deep")?;
    if let Some(options) = &mut message.options {
        options.uninterpreted_option.clear();
    }
    message.field.iter_mut().chain(&mut message.extension).for_each(of_field);
    message.enum_type.iter_mut().for_each(of_enum);
    for options in message.extension_range.iter_mut().filter_map(|range| range.options.as_mut()) {
        options.uninterpreted_option.clear();
    }
    for options in message.oneof_decl.iter_mut().filter_map(|oneof| oneof.options.as_mut()) {
        options.uninterpreted_option.clear();
    }
    message.nested_type.iter_mut().try_for_each(|nested| of_message(nested, below))
}

fn of_field(field: &mut FieldDescriptorProto) {
    if let Some(options) = &mut field.options {
        options.uninterpreted_option.clear();
    }
}

fn of_enum(of: &mut EnumDescriptorProto) {
    if let Some(options) = &mut of.options {
        options.uninterpreted_option.clear();
    }
    for options in of.value.iter_mut().filter_map(|value| value.options.as_mut()) {
        options.uninterpreted_option.clear();
    }
}
